"""Who takes part, and how each is started: the daemon, llama-server twice, and llama-cpp-python's server.

All get the same model file, the same cells of context and nothing else that is not their default, but for two: `tuned`
is llama-server with the options that `tuning.py` found, and llama_cpp.server is told the threads, because its default
is half the cores. llama-server's default is four slots that share the context.
"""

import asyncio
import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import aiohttp

from benchmarks import synthetic
from benchmarks.peers.chats import Answer, Arrivals, Ask, Refused, chat, user
from benchmarks.rival import rival
from benchmarks.server import ROOT, Server, daemon, free_port, running

Kind = Literal[
    "edged", "edged without lookup", "edged without a smaller model", "llama-server", "tuned", "llama_cpp.server"
]

# The longest request waits through an office on the server that answers one after another: 64 answers of 64 tokens
# and 45,000 tokens read again take six minutes at 47 and 180 tokens/s, and three times that with the larger model.
_TIMEOUT = aiohttp.ClientTimeout(total=1800)
# A server that loads answers 503 and cannot tell when it has done; the load takes seconds.
LOADING_PAUSE_S = 0.05
# What a server does of its own accord with a small model is done while the next one starts; with a large one it takes
# half a minute, on a busy machine longer. It has settled when it used less than a twentieth of a core for so long: the
# daemon waits a second of quiet before it measures what steps cost.
_SMALL_BYTES = 64 * 2**20
_SETTLING_S = 180
_SETTLED_S, _LOOK_EVERY_S, _AT_REST = 2.0, 0.5, 0.05
_GUIDE = ROOT / "edged" / "guide.gguf"


@dataclass(frozen=True, slots=True)
class Model:
    """A model file, and the folder in which it is alone."""

    shape: str
    quant: str
    path: Path

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size

    def __str__(self) -> str:
        return f"{self.shape} {self.quant}"


def model(shape: str, quant: str) -> Model:
    """Built on first use; `guide` is the model that comes with edged, whatever `quant` says."""
    if shape == _GUIDE.stem:
        folder = synthetic.cache_directory() / "models" / shape
        folder.mkdir(parents=True, exist_ok=True)
        return Model(shape, "", Path(shutil.copy(_GUIDE, folder)))
    folder = synthetic.cache_directory() / "models" / f"{shape}-{quant}"
    return Model(shape, quant, synthetic.build(shape, quant, folder))


@dataclass(frozen=True, slots=True)
class Needs:
    """What a scenario needs of a server. `shared_prompts` are the system prompts that the owner of the device has set.

    `cache_mib` is what both may keep of idle conversations in memory. `settings` are further settings of the daemon,
    used where it knows them. With `is_fresh` every round begins with a new process and nothing remembered. With
    `has_drafter` the daemon has a smaller model, of shape `…-draft`, to guess ahead.
    """

    slots: int = 8
    context_tokens: int = 8192
    shared_prompts: tuple[str, ...] = ()
    cache_mib: int | None = None
    settings: Mapping[str, str] | None = None
    is_fresh: bool = False
    has_drafter: bool = False


class Stage:
    """A running contender, and the way to talk to it. Entered once; `restart` keeps what the contender itself keeps."""

    def __init__(self, kind: Kind, model: Model, needs: Needs, options: Sequence[str] = ()) -> None:
        self.kind = kind
        self.model = model
        self.needs = needs
        self._options = options
        self._life = ExitStack()
        self._process = ExitStack()
        self._session: aiohttp.ClientSession | None = None
        self.server: Server

    def __enter__(self) -> Self:
        home = self._life.enter_context(tempfile.TemporaryDirectory(prefix="edged-peers-"))
        self._home = Path(home)
        self._life.callback(lambda: self._process.close())
        try:
            self._start()
        except BaseException:
            self._life.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._life.close()

    def _start(self) -> None:
        self.server = self._process.enter_context(
            _started(self.kind, self.model, self.needs, self._options, self._home)
        )
        self.server.wait_listening()

    @contextlib.asynccontextmanager
    async def talking(self) -> AsyncIterator[None]:
        """While this block lasts, requests can be made."""
        # A connection per request: llama-server may close one that was kept while the next request is on its way.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(timeout=_TIMEOUT, connector=connector) as session:
            self._session = session
            try:
                yield
            finally:
                self._session = None

    async def restart(self) -> None:
        """Ends the process as its owner would and starts it again; returns when it answers."""
        await asyncio.to_thread(self._process.close)
        await asyncio.to_thread(self._start)
        await self.ready()

    async def ready(self) -> None:
        """Returns when the model is in memory, every page of it was read once, and the server is at rest.

        It is met as somebody meets it that has been on for a minute: what it does after its start without being asked
        (reading its owner's prompts, measuring, warming up) is done.
        """
        while True:
            try:
                await self.chat(Ask([user(8, "ready")], 2))
            except Refused as refusal:
                if refusal.status != 503:  # loading
                    raise
                await asyncio.sleep(LOADING_PAUSE_S)
                self.server.pause()
            else:
                break
        if self.model.size_bytes > _SMALL_BYTES:
            await self._settled()

    async def _settled(self) -> None:
        """Returns when nobody of the server's processes computes any more."""
        since_s, burnt_s = time.perf_counter(), self.server.cpu_s()
        async with asyncio.timeout(_SETTLING_S):
            while time.perf_counter() - since_s < _SETTLED_S:
                await asyncio.sleep(_LOOK_EVERY_S)
                before_s, burnt_s = burnt_s, self.server.cpu_s()
                if burnt_s - before_s > _AT_REST * _LOOK_EVERY_S:
                    since_s = time.perf_counter()

    async def chat(self, ask: Ask, arrivals: Arrivals | None = None) -> Answer:
        """One streamed answer."""
        return await chat(self.session, self.server.url, self.model.path.stem, ask, arrivals)

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        """Status and decoded body of a request that is not a chat."""
        async with self.session.post(self.server.url + path, json=body) as response:
            return response.status, json.loads(await response.read())

    async def resident(self) -> Mapping[str, Any]:
        """What the daemon counts of the model, which is loaded; another may still be leaving."""
        status = await asyncio.to_thread(self.server.status)
        (found,) = [resident for resident in status["residents"] if resident["model"] == self.model.path.stem]
        return dict(found)

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("requests are made inside `talking()`")
        return self._session


def _started(
    kind: Kind, model: Model, needs: Needs, options: Sequence[str], home: Path
) -> AbstractContextManager[Server]:
    if kind == "edged" and needs.has_drafter:
        smaller = synthetic.build(f"{model.shape}-draft", model.quant, home / "models")
        (home / "models" / model.path.name).hardlink_to(model.path)
        settings = _settings(needs) | {"engine.draft_model": smaller.stem}
        return daemon(home / "models", settings=settings, home=home)
    if kind in ("edged", "edged without a smaller model"):
        return daemon(model.path.parent, settings=_settings(needs), home=home)
    if kind == "edged without lookup":
        return daemon(model.path.parent, settings=_settings(needs) | {"engine.lookup": "false"}, home=home)
    if kind == "llama_cpp.server":
        return rival(model.path, len(os.sched_getaffinity(0)), needs.context_tokens)
    if kind == "llama-server" and needs.cache_mib is not None:
        options = ["--cache-ram", str(needs.cache_mib)]
    return llama_server(model.path, needs.context_tokens, options)


@contextlib.contextmanager
def llama_server(model: Path, context_tokens: int, options: Sequence[str]) -> Iterator[Server]:
    """llama-server with `options`; it listens before the model is loaded."""
    port = free_port()
    command = [programs() / "llama-server", "--model", model, "--host", "127.0.0.1", "--port", port]
    command += ["--ctx-size", context_tokens, "--offline", *options]
    with running([str(word) for word in command], port, {}) as server:
        yield server


@functools.cache
def programs() -> Path:
    """The folder of llama-server and llama-bench, compiled on first use (minutes)."""
    answer = subprocess.run([ROOT / "scripts" / "engine-peers"], stdout=subprocess.PIPE, text=True, check=True)
    return Path(answer.stdout.strip())


@functools.cache
def are_programs_built() -> bool:
    """Whether asking for `programs` would compile nothing."""
    command = [str(ROOT / "scripts" / "engine-peers"), "--if-built"]
    return bool(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip())


def _settings(needs: Needs) -> dict[str, str]:
    """The daemon's settings; the wishes are left out where this revision does not know them."""
    wishes = dict(needs.settings or {})
    if needs.shared_prompts:
        wishes["engine.shared_prompts"] = json.dumps(list(needs.shared_prompts))
    if needs.cache_mib is not None:
        wishes["engine.snapshot_bytes"] = str(needs.cache_mib * 2**20)
    known = {key: value for key, value in wishes.items() if key in _known_settings()}
    return {"engine.context_tokens": str(needs.context_tokens), "engine.sequences": str(needs.slots)} | known


@functools.cache
def _known_settings() -> frozenset[str]:
    command = [str(Path(sys.executable).with_name("edged")), "config", "show", "--json"]
    shown = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return frozenset(f"{section}.{key}" for section, keys in shown.items() for key in keys)
