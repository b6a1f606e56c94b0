"""A child process at the other end of a socketpair: spawned, spoken to, hung up on, and explained when it dies.

    spawn ─▶ frames both ways ─▶ hang up ─▶ gone
                    └─ the child dies, stalls or breaks the protocol ─▶ gone, `on_gone` is told why

The child's end is its leash: it exits when it reads end-of-file. Its environment is an allow-list, because whatever the
daemon knows (keys in variables, above all) is not a model's business. Its standard error is kept, the last lines of it,
for the moment when somebody asks what it died of.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from edged.errors import PayloadTooLarge
from edged.framing import Decoder, WireError, encode
from edged.wire import Frame

log = logging.getLogger(__name__)

# Everything else in the daemon's environment stays there. How the engine's threads wait is an owner's to say: libgomp
# reads it once per process, and no number of turns was better everywhere (`benchmarks/LOG.md`).
_INHERITED = (
    *("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "PYTHONPATH"),
    *("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"),
)
_STDERR_LINES = 20
# What ends a process from outside: the kernel that is short of memory, an owner, a terminal. The others a process
# brings upon itself (signal(7)).
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
# A child with nothing left to do exits at once; one inside a decode needs at most a step (`worker/pace.py`).
_HANG_UP_GRACE_S = 2.0


def environment() -> dict[str, str]:
    """What a child may know."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    # On an abort ggml would fork gdb for a backtrace: seconds of silence, and ptrace on the process.
    return {**inherited, "GGML_NO_BACKTRACE": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def cause_of_death(returncode: int) -> str:
    """An exit status in words: "was killed by SIGKILL", "exited with status 1"."""
    if returncode >= 0:
        return f"exited with status {returncode}"
    # Real-time signals have no names in Python.
    name = next((known.name for known in signal.Signals if known == -returncode), f"signal {-returncode}")
    return f"was killed by {name}"


class Child(asyncio.Protocol):
    """One child. `on_frame` and `on_gone` are called on the event loop; `on_gone` exactly once, with words."""

    def __init__(self, on_frame: Callable[[Frame], None], on_gone: Callable[[str], None]) -> None:
        self._on_frame = on_frame
        self._on_gone = on_gone
        self._decoder = Decoder()
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._complaint = ""
        self._broke_protocol = False
        self._held: deque[tuple[bytes, list[int]]] = deque()
        self._watch: asyncio.Task[None]
        self._process: asyncio.subprocess.Process
        self._transport: asyncio.Transport
        self._socket: socket.socket

    @classmethod
    async def spawn(
        cls,
        module: str,
        on_frame: Callable[[Frame], None],
        on_gone: Callable[[str], None],
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> Child:
        """Start `python -m module` with `variables` beside its usual environment.

        From here on `on_gone` will be called, whatever happens.
        """
        child = cls(on_frame, on_gone)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        child._socket = ours
        with contextlib.ExitStack() as undo:  # who gives up in between leaves neither a socket nor a process behind
            undo.callback(ours.close)
            with theirs:
                child._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", module, str(theirs.fileno())),
                    pass_fds=(theirs.fileno(),),
                    env={**environment(), **variables},
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                )
            undo.callback(child.kill, "is not wanted any more")
            child._transport, _ = await asyncio.get_running_loop().create_connection(lambda: child, sock=ours)
            child._transport.set_write_buffer_limits(0)  # `resume_writing` is called whenever all is written
            undo.pop_all()
        child._watch = asyncio.create_task(child._see_off(), name=f"{module}[{child.pid}]")
        return child

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def is_gone(self) -> bool:
        """It has left and was seen off."""
        return self._watch.done()

    @property
    def ended_by_itself(self) -> bool:
        """It is gone, with an error, and nobody outside had a hand in it."""
        returncode = self._process.returncode
        if self._broke_protocol:
            return True
        return not self._complaint and returncode not in (None, 0) and -(returncode or 0) not in _FROM_OUTSIDE

    @property
    def was_killed(self) -> bool:
        """It is gone because somebody outside killed it without a word, as the kernel does where memory is short."""
        return not self._complaint and self._process.returncode == -signal.SIGKILL

    def send(self, frame: Frame, descriptors: Sequence[int] = ()) -> None:
        """Queue a frame; descriptors travel beside it. To a child that is gone it goes nowhere: `on_gone` tells.

        Raises `PayloadTooLarge` for a text that does not fit a frame: a control character takes six bytes there.
        """
        try:
            data = encode(frame)
        except WireError as error:
            raise PayloadTooLarge(f"The text is too long to be handed to the model: {error}.") from error
        if not descriptors and not self._held:
            self._transport.write(data)
            return
        self._held.append((data, [os.dup(descriptor) for descriptor in descriptors]))
        self.resume_writing()

    def resume_writing(self) -> None:
        """Send what had to wait: descriptors are sent past the transport, so only while it has nothing to write."""
        while self._held and not self._transport.is_closing():
            data, descriptors = self._held[0]
            if descriptors and not self._hand_over(data, descriptors):
                return
            self._held.popleft()
            if not descriptors:
                self._transport.write(data)

    def _hand_over(self, data: bytes, descriptors: list[int]) -> bool:
        if self._transport.get_write_buffer_size():
            return False
        try:
            sent = socket.send_fds(self._socket, [data], descriptors)
        except BlockingIOError:
            # The child is far behind. A first byte waits for room as any other does; the rest follows when it is gone.
            self._held[0] = (data[1:], descriptors)
            self._transport.write(data[:1])
            return False
        except OSError:
            sent = len(data)  # it is gone, as `on_gone` tells
        for descriptor in descriptors:
            os.close(descriptor)
        if sent < len(data):
            self._transport.write(data[sent:])
        return True

    def kill(self, complaint: str) -> None:
        """End it now; `complaint` is the cause that `on_gone` will hear."""
        self._complaint = self._complaint or complaint
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def hang_up(self) -> None:
        """Close the line, give the child a moment to leave by itself, and wait until it has left."""
        self._transport.close()
        try:
            async with asyncio.timeout(_HANG_UP_GRACE_S):
                await asyncio.shield(self._watch)
        except TimeoutError:
            self.kill("did not leave when told to")
            await self._watch

    def data_received(self, data: bytes) -> None:
        """Hand over every complete frame; a child that breaks the protocol may be anybody's, and is killed."""
        try:
            for frame in self._decoder.feed(data):
                self._on_frame(frame)
        except WireError as error:
            self._broke_protocol = True
            self.kill(f"broke the protocol: {error}")

    async def _see_off(self) -> None:
        """Read its standard error until it ends, then tell why it is gone."""
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            text = line.decode(errors="replace").rstrip()
            self._stderr.append(text)
            log.debug("child %d: %s", self.pid, text)
        returncode = await self._process.wait()
        self._transport.close()
        for _, descriptors in self._held:
            for descriptor in descriptors:
                os.close(descriptor)
        self._held.clear()
        cause = self._complaint or cause_of_death(returncode)
        if returncode != 0:
            log.warning("child %d %s; its last words: %s", self.pid, cause, " | ".join(self._stderr) or "none")
        self._on_gone(cause)
