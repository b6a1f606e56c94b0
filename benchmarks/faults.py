"""What a fault of the model's process costs the people it was answering, in seconds.

Eight answers are under way when the worker is killed (SIGKILL: as a crash, or as the kernel does when memory runs out)
or stopped (SIGSTOP: as a driver that hangs). Measured from the signal: until the last of the eight has read a typed
error, and until somebody who asks again has the first word of a new answer, a new worker and its load included.
"""

import asyncio
import json
import os
import signal
import tempfile
import time
from pathlib import Path
from statistics import median

import aiohttp

from benchmarks import synthetic
from benchmarks.client import prompt
from benchmarks.report import Figure, Line
from benchmarks.server import Server, daemon

_SHAPE, _QUANT = "qwen2.5-0.5b", "Q4_0"
_STREAMS = 8
# What the daemon promises: a death is told at once, a silence after ten seconds without progress.
_TOLD_OF_DEATH_S, _SILENT_S = 0.5, 15.0
_CODES = {signal.SIGKILL: "worker_crashed", signal.SIGSTOP: "worker_stalled"}
_TIMEOUT = aiohttp.ClientTimeout(total=120)


def measure(is_quick: bool) -> Figure:
    """Both faults, several times."""
    rounds = 1 if is_quick else 5
    found: dict[signal.Signals, list[tuple[float, float]]] = {number: [] for number in _CODES}
    with tempfile.TemporaryDirectory(prefix="edged-models-") as folder:
        synthetic.build(_SHAPE, _QUANT, Path(folder)).rename(Path(folder) / "model.gguf")
        with daemon(Path(folder), settings={"models.default": "model"}) as server:
            server.wait_listening()
            for number in range(rounds):
                for kind in _CODES:
                    found[kind].append(asyncio.run(_fault(server, kind, number)))
    lines = []
    for kind, limit_s in ((signal.SIGKILL, _TOLD_OF_DEATH_S), (signal.SIGSTOP, _SILENT_S)):
        told_s, served_s = ([round_[which] for round_ in found[kind]] for which in (0, 1))
        lines.append(
            Line(f"{kind.name}: all {_STREAMS} told", median(told_s), "s", limit_s, f"worst {max(told_s):.2f}")
        )
        lines.append(
            Line(f"{kind.name}: next answer's first word", median(served_s), "s", note=f"worst {max(served_s):.2f}")
        )
    return Figure("faults", tuple(lines), {"model": f"{_SHAPE} {_QUANT}", "rounds": rounds}, is_quick)


async def _fault(server: Server, kind: signal.Signals, number: int) -> tuple[float, float]:
    """Seconds from the signal until all were told, and until the next first word."""
    async with aiohttp.ClientSession(server.url, timeout=_TIMEOUT) as session:
        await _first_word(session, "Hello")  # it is in memory
        begun = [asyncio.Event() for _ in range(_STREAMS)]
        texts = [prompt(20, number * _STREAMS + index) for index in range(_STREAMS)]
        answers = [asyncio.create_task(_broken(session, text, has)) for text, has in zip(texts, begun, strict=True)]
        await asyncio.gather(*[has.wait() for has in begun])
        pid = await asyncio.to_thread(_worker_pid, server)
        os.kill(pid, kind)
        began = time.perf_counter()
        codes = await asyncio.gather(*answers)
        told_s = time.perf_counter() - began
        if set(codes) != {_CODES[kind]}:
            raise RuntimeError(f"the answers ended with {codes}")
        await _first_word(session, "Hello again")
        return told_s, time.perf_counter() - began


async def _broken(session: aiohttp.ClientSession, text: str, has_begun: asyncio.Event) -> str:
    """An answer that goes on until it breaks: the code of the error that it ends with."""
    async with session.post("/v1/chat/completions", json=_request(text, 4000)) as response:
        async for line in response.content:
            if line.startswith(b"data: {"):
                has_begun.set()
                if "error" in (chunk := json.loads(line.removeprefix(b"data: "))):
                    return str(chunk["error"]["code"])
    raise RuntimeError("an answer ended without an error")


async def _first_word(session: aiohttp.ClientSession, text: str) -> None:
    async with session.post("/v1/chat/completions", json=_request(text, 1)) as response:
        if response.status != 200:
            raise RuntimeError(f"the next request got {response.status}: {await response.text()}")
        await response.read()


def _request(text: str, tokens: int) -> dict[str, object]:
    messages = [{"role": "user", "content": text}]
    return {"model": "model", "messages": messages, "max_tokens": tokens, "temperature": 0, "stream": True}


def _worker_pid(server: Server) -> int:
    (resident,) = server.status()["residents"]
    return int(resident["pid"])
