"""Talking to the daemon that runs here, over its control socket: what the command line knows of it.

A refusal comes back as what it was: a sentence with a code. No web server is imported, so commands start fast.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edged.errors import EdgedError, Unavailable

_PATIENCE_S = 10.0
# The daemon gives a sign of life on a stream more often than this.
_STREAM_PATIENCE_S = 60.0
_MOST_EVENT_BYTES = 2**20


class NotRunning(Unavailable):
    """No daemon answers on the control socket."""

    code = "not_running"


class Silent(Unavailable):
    """A daemon listens there and has not answered in time: it may yet do what it was asked for."""

    code = "no_answer"


class Refused(EdgedError):
    """The daemon said no; `code` is the daemon's."""

    def __init__(self, message: str, code: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over the daemon's control socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(
    control: Path,
    path: str,
    method: str = "GET",
    body: Mapping[str, Any] | None = None,
    timeout_s: float = _PATIENCE_S,
) -> dict[str, Any]:
    """The daemon's answer; empty where it has no body. Raises `NotRunning`, `Silent`, `Refused`."""
    headers = {"Content-Type": "application/json"} if body is not None else {}
    sent = json.dumps(body).encode() if body is not None else None
    with _asked(control, method, path, sent, headers, timeout_s) as response:
        said = response.read()
    found: dict[str, Any] = json.loads(said) if said else {}
    return found


def follow(control: Path, path: str) -> Iterator[dict[str, Any]]:
    """What the daemon says on a stream of events, as it comes, to its end. Raises as `ask` does."""
    with _asked(control, "GET", path, None, {"Accept": "text/event-stream"}, _STREAM_PATIENCE_S) as response:
        while line := response.readline(_MOST_EVENT_BYTES):
            if not line.endswith(b"\n"):  # the daemon was killed in the middle of a word
                raise http.client.IncompleteRead(line)
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))


def is_running(control: Path) -> bool:
    """Whether a daemon answers there; a socket may be left over from one that was killed. Raises `Silent`."""
    try:
        ask(control, "/healthz")
    except NotRunning:
        return False
    return True


@contextmanager
def _asked(
    control: Path,
    method: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str],
    timeout_s: float,
) -> Iterator[http.client.HTTPResponse]:
    """The daemon's answer while the block reads it."""
    connection = _UnixConnection(control, timeout_s)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        if response.status >= 400:
            raise _refusal(response)
        yield response
    except TimeoutError as error:
        raise Silent(
            f"The edged that uses {control.parent} has not answered for {timeout_s:.0f} s. It may be busy with this: "
            "look with edged status before you ask again."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise NotRunning(_silence(control, error)) from error
    finally:
        connection.close()


def _silence(control: Path, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return (
        f"No edged is running that uses {control.parent} ({reason}). Start one with scripts/run, or name its "
        "--state-dir."
    )


def _refusal(response: http.client.HTTPResponse) -> Refused:
    said = response.read()
    try:
        error = json.loads(said)["error"]
        return Refused(str(error["message"]), str(error["code"]), response.status)
    except (ValueError, KeyError, TypeError):
        return Refused(f"The daemon answered {response.status} {response.reason}.", "internal", response.status)
