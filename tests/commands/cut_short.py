"""A daemon on a control socket that says what it is told to, and is gone in the middle of it."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

_MOST_S = 10.0


def answer(body: Mapping[str, Any]) -> bytes:
    """A whole answer."""
    said = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(said) + said


def stream(bodies: Sequence[Mapping[str, Any]]) -> bytes:
    """A whole stream of events, as the daemon sends it."""
    events = [b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in [*events, b""])
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks


def _hear(connection: socket.socket) -> None:
    """A whole request: whoever is hung up on while he speaks hears another error."""
    heard = b""
    while b"\r\n\r\n" not in heard:
        heard += connection.recv(2**16)
    head, _, body = heard.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    while length and len(body) < int(length[1]):
        body += connection.recv(2**16)


@contextmanager
def saying(control: Path, *answers: bytes) -> Iterator[None]:
    """One of `answers` for each connection; after the last nobody is there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.settimeout(_MOST_S)
        listener.bind(str(control))
        listener.listen()

        def serve() -> None:
            for said in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(_MOST_S)
                    _hear(connection)
                    connection.sendall(said)
            control.unlink()

        thread = Thread(target=serve)
        thread.start()
        yield
        thread.join()
