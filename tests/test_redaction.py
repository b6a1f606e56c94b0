"""What is a secret, or looks like one, is shown nowhere; all else stays as it was."""

from __future__ import annotations

import logging
import subprocess
import sys
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.redaction import LogFormatter, redacted
from edged.secret import SHOWN, Secret

ID, TAIL = "0123456789abcdef", "5ec4e7" * 8

HIDDEN = {
    f"the key edk_{ID}_{TAIL} is unknown": f"the key edk_{ID}_{SHOWN} is unknown",
    f"eds_{ID}_{TAIL[:9]}": f"eds_{ID}_{SHOWN}",
    f"edt_{ID}{TAIL}": f"edt_{SHOWN}",
    "edk_mistyped-key": f"edk_{SHOWN}",
    f"Cookie: a=b; edged_session=x{TAIL}; c=d": f"Cookie: a=b; edged_session={SHOWN}; c=d",
    "Authorization: Bearer sk-abcdefgh1234": f"Authorization: Bearer {SHOWN}",
    "{'authorization': 'Basic dXNlcjpwYXNz'}": f"{{'authorization': 'Basic {SHOWN}'}}",
    "x-api-key: 0123456789": f"x-api-key: {SHOWN}",
    f"There is nothing at /k/{TAIL}/v1/models.": f"There is nothing at /k/{SHOWN}/v1/models.",
    f"GET http://box.local:8080/k/{TAIL}/v1": f"GET http://box.local:8080/k/{SHOWN}/v1",
    "/k/a/v1/chat/completions": f"/k/{SHOWN}/v1/chat/completions",
    "https://hub/x?key=AIzaSyX&alt=json": f"https://hub/x?key={SHOWN}&alt=json",
    "https://cdn/f?a=1&X-Amz-Signature=0aff&b=2": f"https://cdn/f?a=1&X-Amz-Signature={SHOWN}&b=2",
}
PLAIN = (
    f"the key edk_{ID} was revoked",
    "send it as `Authorization: Bearer edk_…`",
    "/home/k/models/tiny.gguf is no model",
    "the basic requirements of a bearer are few",
    "speed_test and edited_text; max_tokens=5; ?keys=1",
    "token by token, /kind/of/model",
)


@pytest.mark.parametrize("text", HIDDEN)
def test_what_looks_like_a_secret_is_hidden_and_nothing_around_it(text: str) -> None:
    assert redacted(text) == HIDDEN[text]


@pytest.mark.parametrize("text", PLAIN)
def test_what_does_not_is_shown(text: str) -> None:
    assert redacted(text) == text


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=8), st.text(), st.text())
def test_what_is_known_is_hidden_wherever_it_stands(value: str, before: str, after: str) -> None:
    if not value.strip():
        return
    secret = Secret(value)

    for written in (secret.reveal(), quote(secret.reveal(), safe="")):
        assert written not in redacted(f"{before}{written}{after}").replace(SHOWN, "")


def test_what_was_forgotten_and_what_is_too_short_is_not_looked_for() -> None:
    short, long = Secret("the"), Secret("forgotten-one")
    assert redacted("the forgotten-one") == f"the {SHOWN}"
    del long

    assert redacted("the forgotten-one") == "the forgotten-one"
    assert short.reveal() == "the"


@given(st.lists(st.sampled_from([*HIDDEN, *PLAIN, SHOWN, "edk_", "/k/", "bearer ", "?key="])).map("".join))
def test_twice_is_as_good_as_once(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)


def test_a_log_line_is_hidden_with_its_arguments_and_its_traceback() -> None:
    secret = Secret("hf_" + TAIL)
    try:
        int(secret.reveal())
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, "f", 1, "at %s", (f"/k/{TAIL}/v1",), sys.exc_info())

    line = LogFormatter("%(message)s").format(record)
    assert line.startswith(f"at /k/{SHOWN}/v1")
    assert f"ValueError: invalid literal for int() with base 10: '{SHOWN}'" in line
    assert TAIL not in line


@given(st.text())
def test_a_record_of_the_log_is_one_line_and_a_stack_has_only_its_own(text: str) -> None:
    error = ValueError(text)
    record = logging.LogRecord("edged", logging.INFO, "f.py", 1, "a hub says %s", (text,), None)
    assert LogFormatter("%(name)s: %(message)s").format(record).isprintable()
    stack = LogFormatter().formatException((ValueError, error, None))
    assert all(line.isprintable() for line in stack.split("\n"))


@given(st.integers(3900, 4010))
def test_a_secret_at_the_end_of_what_is_shown_is_not_cut_but_hidden(before: int) -> None:
    secret = Secret("hf_" + TAIL)
    record = logging.LogRecord("a", logging.ERROR, "f", 1, "%s", (" " * before + secret.reveal(),), None)
    assert "hf_" not in LogFormatter("%(message)s").format(record)


def test_what_ends_the_process_is_hidden_as_well() -> None:
    program = (
        "from edged import redaction\n"
        "redaction.start_logging(10)\n"
        f"raise RuntimeError('asked with edk_{ID}_' + '5ec4e7' * 8)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert f"RuntimeError: asked with edk_{ID}_{SHOWN}" in done.stderr
    assert TAIL not in done.stderr
