"""The `edged` command as a process: what it prints, what it returns, and that a person never sees a traceback."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.daemon_process import ROOT, DaemonProcess, bare_environment, running

# A command answers in well under a second; on a busy machine the interpreter's start takes its time.
DEADLINE_S = 20


def edged(*words: str | Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command to its end. Whatever it says, a traceback is not part of it."""
    ended = subprocess.run(
        [sys.executable, "-m", "edged", *map(str, words)],
        cwd=ROOT,
        env=bare_environment({"COLUMNS": "160", **(environment or {})}),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert "Traceback" not in ended.stdout + ended.stderr, ended.stderr
    return ended


def refused(ended: subprocess.CompletedProcess[str], *, code: int = 1) -> str:
    """What was said on standard error by a command that failed."""
    assert ended.returncode == code, (ended.stdout, ended.stderr)
    assert ended.stdout == ""
    return ended.stderr.strip()


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """An empty configuration file."""
    file = tmp_path / "edged.toml"
    file.touch()
    return file


def test_status_shows_the_running_daemon(edged_daemon: DaemonProcess) -> None:
    shown = edged("status", "--state-dir", edged_daemon.state_dir)

    assert shown.returncode == 0, shown.stderr
    assert edged_daemon.url in shown.stdout
    assert "guide" in shown.stdout


def test_a_healthy_device_is_told_so_with_and_without_a_daemon(edged_daemon: DaemonProcess, tmp_path: Path) -> None:
    for state in (edged_daemon.state_dir, tmp_path):
        ended = edged("doctor", "--json", "--state-dir", state, environment={"EDGED_ENGINE__GPU_LAYERS": "0"})

        assert ended.returncode == 0, (ended.stdout, ended.stderr)
        assert json.loads(ended.stdout)["healthy"]


def test_a_bench_of_the_running_daemon_measures_what_its_owner_wants_to_know(edged_daemon: DaemonProcess) -> None:
    body = json.loads(edged("bench", "--json", "--model", "guide", "--state-dir", edged_daemon.state_dir).stdout)

    assert body["through"] == "the running daemon"
    for speed in (body["ours"], body["default"]):
        assert speed["first_token_s"] > 0
        assert speed["reading_tokens_per_s"] > 0
    assert body["copy_bytes_per_s"] > 0


def test_status_for_programs_is_what_http_says(edged_daemon: DaemonProcess) -> None:
    shown = edged("status", "--json", "--state-dir", edged_daemon.state_dir)

    body = json.loads(shown.stdout)
    assert set(body) == set(edged_daemon.status())
    assert body["default_model"] == "guide"


def test_status_without_a_daemon_says_how_to_start_one(tmp_path: Path) -> None:
    said = refused(edged("status", "--state-dir", tmp_path))

    assert str(tmp_path) in said
    assert "scripts/run" in said


def test_models_lists_what_is_installed(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine.gguf").write_bytes(tiny.read_bytes())
    (tmp_path / "models" / "notes.txt").write_text("no model")

    table = edged("models", "--state-dir", tmp_path)
    listed = json.loads(edged("models", "--json", "--state-dir", tmp_path).stdout)["models"]

    assert table.returncode == 0
    assert "mine" in table.stdout
    assert "notes" not in table.stdout
    assert [model["name"] for model in listed] == ["mine", "guide"]
    assert listed[0]["size_bytes"] == tiny.stat().st_size
    assert [model["default"] for model in listed].count(True) == 1


def test_config_check_finds_nothing_wrong(settings: Path) -> None:
    settings.write_text("[http]\nport = 9000\n")

    shown = edged("config", "check", "--config", settings)

    assert shown.returncode == 0
    assert str(settings) in shown.stdout


def test_config_check_names_line_and_key_and_what_was_meant(settings: Path) -> None:
    settings.write_text("[http]\nport = 9000\n\n[limits]\nqueue_request = 3\n")

    said = refused(edged("config", "check", "--config", settings))

    assert "line 5" in said
    assert "[limits] queue_request" in said
    assert "did you mean queue_requests?" in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[http]\nport = 99999\n", "[http] port = 99999"),
        ('[engine]\nsequences = "many"\n', 'sequences = "many"'),
        ("[htp]\n", "did you mean http?"),
        ("[http\n", "not TOML"),
        ("http = 3\n", "[http]"),
        ("[limits]\nqueue_s = nan\n", "queue_s"),
    ],
)
def test_config_check_names_a_wrong_value(settings: Path, text: str, expected: str) -> None:
    settings.write_text(text)

    said = refused(edged("config", "check", "--config", settings))

    assert str(settings) in said
    assert expected in said


def test_config_check_names_an_environment_variable(settings: Path) -> None:
    said = refused(edged("config", "check", "--config", settings, environment={"EDGED_HTTP__PRT": "1"}))

    assert "EDGED_HTTP__PRT" in said
    assert "did you mean port?" in said


def test_config_check_without_the_file_says_so(tmp_path: Path) -> None:
    said = refused(edged("config", "check", "--config", tmp_path / "absent.toml"))

    assert "absent.toml" in said


def test_config_show_prints_what_is_in_force_in_the_files_own_form(settings: Path, tmp_path: Path) -> None:
    settings.write_text("[limits]\nanswer_tokens = 77\n")
    variables = {"EDGED_HTTP__PORT": "9123"}

    shown = edged("config", "show", "--config", settings, environment=variables)
    body = json.loads(edged("config", "show", "--json", "--config", settings, environment=variables).stdout)

    assert body["limits"]["answer_tokens"] == 77
    assert body["http"]["port"] == 9123
    assert "answer_tokens = 77" in shown.stdout
    again = tmp_path / "again.toml"
    again.write_text(shown.stdout)
    assert edged("config", "check", "--config", again).returncode == 0


def test_serve_on_a_port_in_use_says_so_in_a_sentence(
    edged_daemon: DaemonProcess, tmp_path: Path, settings: Path
) -> None:
    port = edged_daemon.url.rpartition(":")[2]

    said = refused(edged("serve", "--port", port, "--state-dir", tmp_path / "state", "--config", settings))

    assert len(said.splitlines()) == 1
    assert port in said
    assert "--port" in said


def test_a_second_daemon_in_one_state_directory_is_refused(edged_daemon: DaemonProcess, settings: Path) -> None:
    said = refused(edged("serve", "--port", "0", "--state-dir", edged_daemon.state_dir, "--config", settings))

    assert len(said.splitlines()) == 1
    assert str(edged_daemon.state_dir) in said
    assert edged_daemon.get("/healthz"), "the first one lives on"
    assert edged("status", "--state-dir", edged_daemon.state_dir).returncode == 0, "and still hears its owner"


def test_an_address_that_this_machine_has_not_is_named(tmp_path: Path, settings: Path) -> None:
    words = ("serve", "--host", "192.0.2.1", "--port", "0", "--state-dir", tmp_path / "state", "--config", settings)

    said = refused(edged(*words))

    assert said == (
        "edged: Cannot listen on 192.0.2.1 port 0: Cannot assign requested address. "
        "Choose another with --port or --host."
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_listening_beyond_this_machine_serves_nobody_before_somebody_owns_it(host: str) -> None:
    with running(config=f'[http]\nhost = "{host}"\n', wait=False) as daemon:
        asked = Request(f"http://127.0.0.1:{urlsplit(daemon.url).port}/v1/models")
        with pytest.raises(HTTPError) as refusal:
            urlopen(asked, timeout=DEADLINE_S)
        with refusal.value as answer:
            assert (answer.code, json.load(answer)["error"]["code"]) == (403, "claim_required")
        assert re.search("enter the code [0-9A-Z]{4}-[0-9A-Z]{4}", daemon.log())


def test_a_state_directory_that_cannot_be_one_is_refused(tmp_path: Path, settings: Path) -> None:
    (tmp_path / "file").write_text("")

    said = refused(edged("serve", "--port", "0", "--state-dir", tmp_path / "file", "--config", settings))

    assert "--state-dir" in said


def test_a_state_directory_too_deep_for_a_socket_is_refused(tmp_path: Path, settings: Path) -> None:
    """The kernel takes 107 bytes of path for a socket (unix(7))."""
    deep = tmp_path / ("d" * 120)

    said = refused(edged("serve", "--port", "0", "--state-dir", deep, "--config", settings))

    assert "--state-dir" in said


def test_a_models_folder_that_is_a_file_is_refused(tmp_path: Path, settings: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "models").write_text("")

    said = refused(edged("serve", "--port", "0", "--state-dir", state, "--config", settings))

    assert str(state / "models") in said


@pytest.mark.parametrize(
    "words", [(), ("frobnicate",), ("serve", "--prot", "1"), ("serve", "--port", "x"), ("config",)]
)
def test_a_wrong_command_line_is_a_usage_error(words: tuple[str, ...]) -> None:
    said = refused(edged(*words), code=2)

    assert said.startswith("usage: edged")


@pytest.mark.parametrize("words", [("--help",), ("serve", "--help"), ("config", "check", "--help"), ("--version",)])
def test_help_is_there(words: tuple[str, ...]) -> None:
    shown = edged(*words)

    assert shown.returncode == 0
    assert "edged" in shown.stdout
