"""What must be known to this process and to nobody else: keys and tokens, as values that do not tell themselves.

A secret that is text ends up in a log line, an error, a dump of the configuration, sooner or later. A `Secret` can be
compared and handed over with `reveal`, and nothing else can be done with it. It comes from the configuration, a file
that others cannot read, or a variable, which is taken out of the environment so that no child and no `ps e` finds it.
What was made a `Secret` is kept out of all that is logged and answered as well (`redaction.py`).
"""

from __future__ import annotations

import ctypes
import hmac
import os
import shlex
import stat
import struct
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, NoReturn, final
from weakref import WeakValueDictionary

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from edged.errors import ConfigError

SHOWN = "<secret>"
_MOST_FILE_BYTES = 4096
# linux/posix_acl_xattr.h and linux/posix_acl.h: a version, then entries of tag, permissions and id.
_ACL = "system.posix_acl_access"
_ACL_USER, _ACL_GROUP_OBJ, _ACL_GROUP, _ACL_MASK, _ACL_OTHER = 0x02, 0x04, 0x08, 0x10, 0x20
_READ = 4

_alive: WeakValueDictionary[int, Secret] = WeakValueDictionary()


@final
class Secret:
    """One line of printable ASCII, as it fits into a header. Two are compared in a time that tells nothing of them."""

    __slots__ = ("__weakref__", "_value")

    def __init__(self, value: str) -> None:
        """Raises `ValueError`, without the value, for what is no such line."""
        if not (value.isascii() and value.isprintable() and value.strip()):
            raise ValueError("a secret is one line of printable ASCII")
        self._value = value
        _alive[id(self)] = self

    def reveal(self) -> str:
        """The text, for whoever must send it."""
        return self._value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return SHOWN

    def __str__(self) -> NoReturn:
        raise TypeError("a secret is not text; reveal() is for whoever must send it")

    def __format__(self, specification: str) -> NoReturn:
        raise TypeError("a secret is not text; reveal() is for whoever must send it")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is neither copied nor pickled")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        shown = core_schema.plain_serializer_function_ser_schema(lambda _: SHOWN, when_used="json")
        return core_schema.no_info_plain_validator_function(_validated, serialization=shown)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "format": "password", "writeOnly": True}


def known() -> list[Secret]:
    """Every secret that this process holds at the moment."""
    return [secret for reference in _alive.valuerefs() if (secret := reference()) is not None]


def read_file(file: Path) -> Secret:
    """The secret in `file`, white space around it left out.

    Raises `ConfigError` for a file that cannot be read, that others can read, or that holds no single line.
    """
    try:
        with file.open("rb") as opened:
            check_mode(file, opened.fileno())
            data = opened.read(_MOST_FILE_BYTES + 1)
        text = data.decode("ascii").strip() if len(data) <= _MOST_FILE_BYTES else ""
        return Secret(text)
    except OSError as error:
        raise ConfigError(f"{file}: no secret can be read there: {error.strerror}.") from error
    except ValueError:
        raise ConfigError(f"{file}: no secret can be read there: that is one line of ASCII, 4 kB at most.") from None


def check_mode(file: Path, descriptor: int) -> None:
    """Raises `ConfigError` where somebody beside its owner, root and this process may read or change a file."""
    if others := _others(descriptor):
        raise ConfigError(
            f"{file} holds a secret and is open to {others}. If somebody may have seen it, change it; then type this, "
            f"and start edged again: chmod 600 {shlex.quote(str(file))}"
        )


def taken(environ: MutableMapping[str, str], variable: str) -> Secret | None:
    """The secret in a variable, which is gone from the environment afterwards; None where it is not set, or empty.

    Raises `ConfigError` where it is not one line.
    """
    text = environ.get(variable, "").strip()
    if variable in environ:
        if environ is os.environ:
            _wipe(variable)
        del environ[variable]
    try:
        return Secret(text) if text else None
    except ValueError as error:
        raise ConfigError(f"The environment variable {variable} holds no secret: {error}.") from None


def _wipe(variable: str) -> None:
    """Overwrite the value where the kernel has put it: /proc/PID/environ shows that place for as long as we live."""
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    if place := libc.getenv(os.fsencode(variable)):
        ctypes.memset(place, 0, len(ctypes.string_at(place)))


def _validated(value: object) -> Secret:
    if isinstance(value, Secret):
        return value
    if isinstance(value, str):
        try:
            return Secret(value.strip())
        except ValueError as error:
            raise PydanticCustomError("secret", "{reason}", {"reason": str(error)}) from None
    raise PydanticCustomError("secret", "a secret is written in quotes")


def _others(descriptor: int) -> str:
    """Who else may read or change an open file, in words; empty where nobody may."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        return ""  # a pipe that somebody has laid to us alone
    try:
        listed = os.getxattr(descriptor, _ACL)
    except OSError:  # there is no such list, or none on this file system
        rights = stat.S_IMODE(status.st_mode)
        return "everybody" if rights & 0o007 else "its group" if rights & 0o070 else ""
    return _listed(listed)


def _listed(listed: bytes) -> str:
    """The same from an access control list, with which systemd gives a credential to the user of a service alone
    (systemd: src/core/exec-credential.c, `write_credential`). The mode shows its mask then, as if the group could read.
    """
    entries = list(struct.iter_unpack("<HHI", listed[4:]))
    mask = next((rights for tag, rights, _ in entries if tag == _ACL_MASK), 7)
    own = {0, os.geteuid()}
    for tag, rights, id in entries:
        if tag == _ACL_OTHER and rights:
            return "everybody"
        if tag in (_ACL_GROUP_OBJ, _ACL_GROUP) and rights & mask:
            return "a group"
        if tag == _ACL_USER and rights & mask and id not in own:
            return f"the user {id}"
    return ""
