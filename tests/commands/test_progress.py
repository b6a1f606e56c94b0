"""What a download looks like while it goes on, and in a log."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from edged.commands.progress import Bar, as_json, clock, ending, of_total, shown, size

BEGUN: dict[str, Any] = {
    "id": "1", "reference": "qwen3-4b", "name": "qwen3-4b", "state": "fetching", "total_bytes": 2_497_280_256,
    "done_bytes": 1_050_000_000, "bytes_per_s": 8.2e6, "eta_s": 177.0, "reason": "", "code": "", "message": "",
    "verified": False,
}  # fmt: skip
LONG = "hf.co/bartowski/ibm-granite_granite-3.3-2b-instruct-GGUF:Q4_K_M"
STATES = ("queued", "waiting", "resolving", "fetching", "verifying", "copying", "checking", "mending")


def picture(width: int = 80, **fields: Any) -> str:
    bar, console = Bar(), Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    bar.progress = BEGUN | fields
    with console.capture() as captured:
        console.print(bar)
    return captured.get().rstrip("\n")


@pytest.mark.parametrize(("size_bytes", "words"), [
    (0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (999_499, "999 kB"), (999_999, "1.00 MB"),
    (2_497_280_256, "2.50 GB"), (99_960_000, "100 MB"), (12_345_678, "12.3 MB"),
])  # fmt: skip
def test_sizes_have_three_digits(size_bytes: float, words: str) -> None:
    assert size(size_bytes) == words


@pytest.mark.parametrize(("seconds", "words"), [
    (0.2, "0:00"), (59.6, "1:00"), (177, "2:57"), (3723, "1:02:03"), (200_000, "2 days"), (-5, "0:00"),
])  # fmt: skip
def test_durations_are_as_on_a_clock(seconds: float, words: str) -> None:
    assert clock(seconds) == words


def test_what_is_here_is_counted_in_the_unit_of_the_whole() -> None:
    assert of_total(50_000_000, 2_497_280_256) == "0.05/2.50 GB"
    assert of_total(50_000_000, None) == "50.0 MB"


def test_a_download_shows_name_bar_bytes_share_speed_and_what_is_left() -> None:
    shown_line = picture()
    assert "qwen3-4b" in shown_line
    assert "━" in shown_line
    for figure in ("1.05/2.50 GB", "42%", "8.20 MB/s", "2:57 left"):
        assert figure in shown_line


def test_a_long_name_keeps_what_tells_it_apart_and_leaves_room_for_all_figures() -> None:
    shown_line = picture(name=LONG)
    assert "ibm-granite" in shown_line
    assert "…" in shown_line
    for figure in ("━", "1.05/2.50 GB", "42%", "8.20 MB/s", "2:57 left"):
        assert figure in shown_line


def test_why_it_waits_is_said_as_it_is() -> None:
    assert "waiting: quiet hours until 06:00" in picture(state="waiting", reason="quiet hours until 06:00")
    assert "1.05 GB kept" in picture(state="waiting", reason="x")
    assert "[/b]" in picture(state="queued", reason="[/b]")
    assert "verifying" in picture(state="verifying")
    assert "asking the hub" in picture(state="resolving", total_bytes=None)


@given(
    st.integers(20, 200), st.sampled_from(STATES), st.text("abc/-:é漢", min_size=1, max_size=90),
    st.one_of(st.none(), st.integers(0, 10**12)), st.integers(0, 10**12),
    st.one_of(st.none(), st.floats(0, 1e10)), st.one_of(st.none(), st.floats(0, 1e9)), st.text(max_size=80),
)  # fmt: skip
def test_it_is_one_line_that_fits_whatever_is_told(
    width: int, state: str, name: str, total: int | None, done: int, speed: float | None, left: float | None, why: str
) -> None:
    line = picture(
        width, state=state, name=name, total_bytes=total, done_bytes=done, bytes_per_s=speed, eta_s=left,
        reason=why if why.isprintable() else "",
    )  # fmt: skip
    assert "\n" not in line
    assert Console(width=width).measure(line).maximum <= width


def test_without_a_terminal_there_is_a_line_for_every_tenth_and_state() -> None:
    output = io.StringIO()
    with shown(Console(file=output, force_terminal=False)) as tell:
        for done in range(0, 100, 2):
            tell(BEGUN | {"total_bytes": 100, "done_bytes": done, "bytes_per_s": None, "eta_s": None})
        tell(BEGUN | {"state": "verifying"})
        tell(BEGUN | {"state": "verifying"})
        tell(BEGUN | {"state": "done"})
    lines = output.getvalue().splitlines()
    assert lines[:2] == ["qwen3-4b: 0% of 100 B", "qwen3-4b: 10% of 100 B"]
    assert lines[-1] == "qwen3-4b: verifying"
    assert len(lines) == 11


def test_a_program_gets_every_change_as_json() -> None:
    output = io.StringIO()
    with as_json(output) as tell:
        tell(BEGUN)
        tell(BEGUN | {"state": "done"})
    assert [json.loads(line)["state"] for line in output.getvalue().splitlines()] == ["fetching", "done"]


def test_how_it_ended_is_a_sentence() -> None:
    done = BEGUN | {"state": "done", "done_bytes": 2_497_280_256, "verified": True}
    assert ending(done, 303) == "qwen3-4b is installed: 2.50 GB in 5:03, 8.24 MB/s, checksum verified."
    assert ending(done, 0.1) == "qwen3-4b is installed: 2.50 GB, checksum verified."
    assert ending(done | {"verified": False}, 0.1) == "qwen3-4b is installed: 2.50 GB."
    assert ending(BEGUN | {"state": "cancelled"}, 1) == "qwen3-4b was cancelled."
    assert ending(BEGUN | {"state": "failed", "message": "No room."}, 1) == "No room."
