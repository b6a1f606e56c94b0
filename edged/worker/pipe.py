"""A child's end of the socketpair: frames in and out, and the descriptors that come beside them."""

from __future__ import annotations

import select
import socket
from array import array

from edged.framing import Decoder, encode
from edged.wire import Frame

_RECEIVE_BYTES = 256 * 1024
# The most descriptors that come beside one message: SCM_MAX_FD in include/net/scm.h of Linux.
_ANCILLARY_BYTES = socket.CMSG_SPACE(253 * array("i").itemsize)


class Pipe:
    """The line to the daemon; `descriptor` is its number in this process."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._decoder = Decoder()
        self.descriptors: list[int] = []

    def receive(self, *, wait: bool) -> list[Frame]:
        """Frames that have arrived; with `wait`, at least one read. Raises `EOFError` when the daemon hung up.

        Descriptors that came along are appended to `descriptors`, in order.
        """
        flags = 0 if wait else socket.MSG_DONTWAIT
        try:
            # Not socket.recv_fds: it drops the flags (CPython, Lib/socket.py).
            data, ancillary, _, _ = self._socket.recvmsg(_RECEIVE_BYTES, _ANCILLARY_BYTES, flags)
        except BlockingIOError:
            return []
        if not data:
            raise EOFError("the daemon hung up")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.descriptors.extend(array("i", content))
        return list(self._decoder.feed(data))

    def take_descriptor(self) -> int:
        """The oldest descriptor that nobody has taken; it came with or before the frame that speaks of it."""
        return self.descriptors.pop(0)

    def has_news(self, within_s: float) -> bool:
        """Wait at most `within_s` until there is something to receive, an end included."""
        return bool(select.select([self._socket], [], [], within_s)[0])

    def send(self, frame: Frame) -> None:
        """Write one frame; waits while the daemon is behind."""
        self._socket.sendall(encode(frame))
