"""What the daemon and its children say to each other: one JSON line per frame, over an inherited socketpair.

    daemon ── Load ──────────────▶ worker        the model's descriptor travels beside it (SCM_RIGHTS)
           ◀─ Loading*, Loaded | LoadFailed
           ◀─ Tuned                              at most once, when the best number of threads is known
           ── Generate, Cancel ──▶
           ◀─ Accepted | Rejected               one of them per Generate, in order of arrival
           ◀─ Step                              the news of all sequences of one decode

    daemon ── Template ──────────▶ template      the model's chat template; rendering happens where nothing decodes
           ◀─ Compiled | Refused
           ── Render ────────────▶
           ◀─ Rendered | Refused                one of them per Render

Hanging up is the leash: a child that reads end-of-file exits. A frame is at most 4 MiB and is checked against its
dataclass field by field, because a worker parses files from strangers and may be anybody's by now: a frame that does
not fit is a `WireError`, and its sender is killed. Bulk (models, later images and snapshots) never travels in a frame.

Standard library only, and no asyncio: a worker's start-up time is a person's waiting time.
"""

from __future__ import annotations

import json
import math
import socket
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, Union, cast, get_args, get_origin, get_type_hints

from edged.chat import FinishReason, Role, Sampling, TextPart

MAX_FRAME_BYTES = 4 * 1024 * 1024
_RECEIVE_BYTES = 256 * 1024
_ANCILLARY_BYTES = socket.CMSG_SPACE(8 * array("i").itemsize)  # room for eight descriptors


class WireError(Exception):
    """The other side broke the protocol."""


@dataclass(frozen=True, slots=True)
class Span:
    """A run of prompt text. Literal text came from a person and is never read as control tokens."""

    text: str
    literal: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """One message as a template sees it: a list of parts, though only text has a place in a template today."""

    role: Role
    parts: tuple[TextPart, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """Load the model behind the descriptor sent beside this frame. `gpu_layers` -1 means all that fit the device.

    `decode_threads` is what an earlier run found best for decoding; None lets the worker find out.
    """

    name: str
    context_tokens: int
    sequences: int
    threads: int
    gpu_layers: int
    longest_gap_steps: float = 6.0
    decode_threads: int | None = None
    follow_neighbours: bool = True
    maps_file: bool = True
    repacks: bool = True


@dataclass(frozen=True, slots=True)
class Loading:
    """Still loading; `progress` runs from 0 to 1."""

    progress: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model is ready. `controls` are the texts that the tokenizer reads as control tokens.

    `gpus` are the devices that llama.cpp could compute on beside the processor; `gpu_layers` of `layers` lie there.
    """

    context_tokens: int
    template: str
    bos: str
    eos: str
    controls: tuple[str, ...]
    description: str
    model_bytes: int
    parameters: int
    gpus: tuple[str, ...] = ()
    gpu_layers: int = 0
    layers: int = 0


@dataclass(frozen=True, slots=True)
class Tuned:
    """On an undisturbed machine so many threads decode fastest; told once, when it was found out."""

    decode_threads: int


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The engine refused the file; the worker exits after saying so."""

    message: str


@dataclass(frozen=True, slots=True)
class Generate:
    """Answer `prompt` with at most `max_tokens` tokens; a smaller room in the context is a smaller bound."""

    id: int
    prompt: tuple[Span, ...]
    max_tokens: int
    sampling: Sampling
    stop: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for this answer any more. Unknown ids are ignored: the end may have crossed the cancellation."""

    id: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The prompt fits the context and will be answered."""

    id: int
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """The prompt does not fit the context."""

    id: int
    prompt_tokens: int
    context_tokens: int


@dataclass(frozen=True, slots=True)
class Output:
    """News of one sequence: `text` made of `tokens` tokens; with `finish`, its last word (`total` tokens in all)."""

    id: int
    text: str
    tokens: int
    finish: FinishReason | None = None
    total: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One decode: what it brought to whom, how many prompt tokens it read, and where its time went.

    `step_s` is the whole step; of it `decode_s` was spent in llama_decode, `sample_s` in llama.cpp's sampler.
    """

    outputs: tuple[Output, ...]
    prompt_tokens: int
    step_s: float
    decode_s: float
    sample_s: float


@dataclass(frozen=True, slots=True)
class Template:
    """The model's chat template and what it may refer to."""

    source: str
    bos: str
    eos: str
    controls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compiled:
    """The template is ready to render."""


@dataclass(frozen=True, slots=True)
class Render:
    """Lay out this conversation and open the assistant's turn."""

    id: int
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """The prompt, with everything that could pass for a control token marked literal where a person typed it."""

    id: int
    prompt: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The template itself objected, or does not compile (then `id` is 0); `message` is its own word."""

    id: int
    message: str


Frame: TypeAlias = (
    Load
    | Loading
    | Loaded
    | Tuned
    | LoadFailed
    | Generate
    | Cancel
    | Accepted
    | Rejected
    | Step
    | Template
    | Compiled
    | Render
    | Rendered
    | Refused
)
_FRAMES: dict[str, Any] = {kind.__name__: kind for kind in get_args(Frame)}


def encode(frame: Frame) -> bytes:
    """One line, newline included. Raises `WireError` where the frame is larger than the other side accepts."""
    line = json.dumps([type(frame).__name__, frame], default=_fields_of, ensure_ascii=False, separators=(",", ":"))
    data = line.encode() + b"\n"
    if len(data) > MAX_FRAME_BYTES:
        raise WireError(f"a {type(frame).__name__} frame of {len(data)} bytes exceeds {MAX_FRAME_BYTES}")
    return data


def decode(line: bytes) -> Frame:
    """The frame in `line`, every field checked. Raises `WireError`."""
    try:
        name, body = json.loads(line)
        frame = _reader(_FRAMES[name])(body)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise WireError(f"not a frame ({error!r}): {line[:80]!r}") from error
    return cast("Frame", frame)


class Decoder:
    """Bytes in, frames out, whatever the cuts between them."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield every frame that `data` completes. Raises `WireError` on a bad or an oversized line."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        longest = max(map(len, (*lines, self._rest)))
        if longest > MAX_FRAME_BYTES:
            raise WireError(f"a line of {longest} bytes exceeds {MAX_FRAME_BYTES}")
        for line in lines:
            yield decode(line)


class Pipe:
    """The child's end of the socketpair."""

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

    def send(self, frame: Frame) -> None:
        """Write one frame; waits while the daemon is behind."""
        self._socket.sendall(encode(frame))


def _fields_of(value: Any) -> dict[str, object]:
    if not is_dataclass(value):
        raise TypeError(f"{type(value).__name__} has no place on the wire")
    kind: Any = type(value)
    return {name: getattr(value, name) for name in _field_names(kind)}


@cache
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


Reader: TypeAlias = Callable[[Any], Any]


@cache
def _reader(kind: Any) -> Reader:
    """A function that turns decoded JSON into a value of type `kind`, or raises ValueError or TypeError."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (inner,) = [argument for argument in arguments if argument is not NoneType]
        read = _reader(inner)
        return lambda value: None if value is None else read(value)
    if origin is Literal:
        return _one_of(frozenset(arguments))
    if origin is tuple:
        element = _reader(arguments[0])
        return lambda value: tuple([element(item) for item in _exactly(list, value)])
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    if kind is float:
        return _finite
    return lambda value: _exactly(kind, value)


def _dataclass_reader(kind: Any) -> Reader:
    hints = get_type_hints(kind)
    readers = [(name, _reader(hints[name])) for name in _field_names(kind)]

    def read(value: Any) -> Any:
        if len(_exactly(dict, value)) != len(readers):
            raise ValueError(f"{kind.__name__} with fields {sorted(value)}")
        return kind(*[reader(value[name]) for name, reader in readers])

    return read


def _one_of(allowed: frozenset[object]) -> Reader:
    def read(value: Any) -> Any:
        if value not in allowed:
            raise ValueError(f"{value!r} is not one of {sorted(map(str, allowed))}")
        return value

    return read


def _finite(value: Any) -> float:
    number = float(_exactly((int, float), value))
    if not math.isfinite(number):  # Python's json reads NaN, Infinity and 1e999
        raise ValueError(f"{number} is not a number")
    return number


def _exactly(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r} is not {kind}")
    return value
