"""A secret does not tell itself, and comes only from where nobody else can read it."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from edged.errors import ConfigError
from edged.secret import SHOWN, Secret, read_file, taken

TEXT = "hf_" + "k3" * 10


@dataclass(frozen=True)
class Holder:
    """Something that has one."""

    token: Secret


class Settings(BaseModel):
    """The same, from outside."""

    token: Secret | None = None


TELLING: dict[str, Callable[[Secret], object]] = {
    "str": str,
    "an f-string": lambda secret: f"Bearer {secret}",
    "percent": lambda secret: "%s" % secret,  # noqa: UP031
    "format": "{}".format,
    "print": print,
    "joining": lambda secret: "".join([secret]),  # type: ignore[list-item]
    "adding": lambda secret: "Bearer " + secret,  # type: ignore[operator]
    "bytes": lambda secret: bytes(secret),  # type: ignore[call-overload]
    "pickle": pickle.dumps,
    "copy": copy.copy,
    "deep copy": copy.deepcopy,
    "JSON": json.dumps,
    "JSON of what is no JSON": lambda secret: json.dumps(secret, default=str),
    "a dataclass as a dictionary": lambda secret: asdict(Holder(secret)),
    "its attributes": vars,
}


@pytest.mark.parametrize("tell", TELLING.values(), ids=TELLING.keys())
def test_it_becomes_no_text(tell: Callable[[Secret], object]) -> None:
    with pytest.raises(TypeError) as refused:
        tell(Secret(TEXT))
    assert TEXT not in str(refused.value)


def test_what_holds_it_shows_that_it_has_one() -> None:
    held = [Holder(Secret(TEXT)), Settings(token=Secret(TEXT)), (Secret(TEXT),), KeyError(Secret(TEXT))]

    for holder in held:
        assert SHOWN in repr(holder)
        assert TEXT not in repr(holder)
    assert json.loads(Settings(token=Secret(TEXT)).model_dump_json()) == {"token": SHOWN}
    assert Secret(TEXT).reveal() == TEXT


def test_a_log_line_that_would_tell_it_fails_without_telling_it(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.handle(logging.makeLogRecord({"msg": "asked with %s", "args": (Secret(TEXT),)}))

    said = capsys.readouterr().err
    assert "Logging error" in said
    assert TEXT not in said


@given(st.text(), st.text())
def test_two_are_equal_where_their_texts_are(one: str, other: str) -> None:
    secrets = [found for text in (one, other) if (found := _made(text))]

    if len(secrets) == 2:
        assert (secrets[0] == secrets[1]) == (one == other)
    assert all(secret != secret.reveal() for secret in secrets)


@given(st.text())
def test_it_is_one_line_that_fits_into_a_header(text: str) -> None:
    is_line = bool(text.strip()) and all(" " <= each <= "~" for each in text)

    assert (_made(text) is not None) == is_line


def test_what_is_none_is_refused_without_being_shown() -> None:
    for value in (f"{TEXT}\n{TEXT}", "", 5, [TEXT], "é" + TEXT):
        with pytest.raises(ValidationError) as refused:
            TypeAdapter(Secret).validate_python(value)
        assert TEXT not in str(refused.value.errors(include_input=False))


def test_a_program_that_reads_the_schema_knows_that_it_is_one() -> None:
    assert TypeAdapter(Secret).json_schema() == {"type": "string", "format": "password", "writeOnly": True}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622, 0o444])
def test_a_file_that_others_can_read_is_refused_with_what_mends_it(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "token"
    file.write_text(TEXT)
    file.chmod(mode)

    with pytest.raises(ConfigError, match=f"chmod 600 {file}"):
        read_file(file)
    assert subprocess.run(["chmod", "600", file], check=True).returncode == 0
    assert read_file(file) == Secret(TEXT)


def _acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("user", "rights", "group", "refused"),
    [
        pytest.param(os.geteuid(), 4, 0, "", id="as systemd gives a credential to the user of a service"),
        pytest.param(54321, 4, 0, "the user 54321", id="to another user"),
        pytest.param(54321, 0, 0, "", id="to nobody"),
        pytest.param(os.geteuid(), 4, 4, "a group", id="to a group"),
    ],
)
def test_an_access_list_counts_and_not_the_mode_that_shows_its_mask(
    tmp_path: Path, user: int, rights: int, group: int, refused: str
) -> None:
    file = tmp_path / "hf_token"
    file.write_text(TEXT)
    entries = [(0x01, 4, NOBODY), (0x02, rights, user), (0x04, group, NOBODY), (0x10, 4, NOBODY), (0x20, 0, NOBODY)]
    try:
        os.setxattr(file, "system.posix_acl_access", _acl(*entries))
    except OSError:
        pytest.skip("this file system has no access lists")
    assert file.stat().st_mode & 0o777 == 0o440

    if refused:
        with pytest.raises(ConfigError, match=refused):
            read_file(file)
    else:
        assert read_file(file) == Secret(TEXT)


@pytest.mark.parametrize("content", [b"", b" \n", b"a\nb", b"\xff\xfe", b"k" * 5000])
def test_a_file_without_a_single_line_is_refused_without_being_shown(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_bytes(content)

    with pytest.raises(ConfigError, match="no secret can be read there") as refused:
        read_file(file)
    assert "kkkk" not in str(refused.value)


def test_a_variable_is_gone_once_it_was_read() -> None:
    environ = {"TOKEN": f" {TEXT} ", "EMPTY": "", "OTHER": "stays"}

    assert taken(environ, "TOKEN") == Secret(TEXT)
    assert taken(environ, "TOKEN") is None
    assert taken(environ, "EMPTY") is None
    assert environ == {"OTHER": "stays"}


def test_a_variable_is_gone_from_where_the_kernel_shows_it_as_well() -> None:
    program = (
        "import os, subprocess\n"
        "from pathlib import Path\n"
        "from edged.secret import taken\n"
        "shown = Path('/proc/self/environ')\n"
        "was_there = os.environ['TOKEN'].encode() in shown.read_bytes()\n"
        "secret = taken(os.environ, 'TOKEN')\n"
        "child = subprocess.run(['env'], capture_output=True, check=True).stdout\n"
        "print(was_there, secret.reveal().encode() in shown.read_bytes(), b'TOKEN' in child, b'OTHER=stays' in child)\n"
    )
    environment = {**os.environ, "TOKEN": TEXT, "OTHER": "stays"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["True", "False", "False", "True"]


def _made(text: str) -> Secret | None:
    try:
        return Secret(text)
    except ValueError:
        return None
