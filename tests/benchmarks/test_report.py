"""How a result is shown and kept."""

import json
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.report import Figure, Line

LINES = (
    Line("quick enough", 0.9, "s", 1.0, "3 runs"),
    Line("too slow", 1234.0, "us", 150.0),
    Line("too wide", None, "", 0.5, "runs differ"),
    Line("only told", 5.0, "MiB"),
)
FIGURE = Figure(
    "example", LINES, {"words_in": 60}, is_quick=False, machine={"cores": 2}, measured_at="2026-01-02T03:04"
)


def test_the_last_line_of_stdout_is_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    report.show([FIGURE])

    (document,) = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert document["lines"][0]["value"] == 0.9
    assert document["machine"] == {"cores": 2}


def test_a_promise_is_met_missed_or_not_judged() -> None:
    assert [line.verdict for line in LINES] == ["met", "MISSED", "", ""]


def test_a_promise_may_be_a_least_value() -> None:
    assert Line("share", 0.95, "", least=0.99).verdict == "MISSED"
    assert Line("share", 1.0, "", least=0.99).verdict == "met"
    assert report._promise(Line("share", 1.0, "", least=0.99)) == ">= 0.99"


def test_the_log_grows_by_a_dated_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "LOG.md"
    log.write_text("# What was measured\n")
    monkeypatch.setattr(report, "LOG", log)

    report.log([FIGURE])

    assert log.read_text() == (
        "# What was measured\n"
        "\n## 2026-01-02 · example\n\n"
        "cores 2  \nwords in 60\n\n"
        "| | value | promised | | note |\n| --- | ---: | ---: | --- | --- |\n"
        "| quick enough | 0.9 s | <= 1 | met | 3 runs |\n"
        "| too slow | 1,234 us | <= 150 | MISSED |  |\n"
        "| too wide | not published | <= 0.5 |  | runs differ |\n"
        "| only told | 5 MiB |  |  |  |\n"
    )


def test_the_machine_is_described() -> None:
    facts = report.machine()

    assert facts["cpu"]
    assert str(facts["engine"]).startswith("llama-cpp-python 0.")
