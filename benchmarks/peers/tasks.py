"""What else an engine does: texts embedded beside an answer, answers held to a schema, and the memory it takes.

Embeddings and schemas are asked of a server as it is; one that answers 400 or 404 does not have them, and the scenario
says so instead of giving a value.
"""

import asyncio
import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers.chats import Arrivals, Ask, Refused, user, words
from benchmarks.peers.contenders import LOADING_PAUSE_S, Needs, Stage, are_programs_built, llama_server
from benchmarks.peers.scenario import Promise, Scenario, Unsupported, Values
from benchmarks.shapes import SHAPES

_Vectors = npt.NDArray[np.float64]

_ABSENT = (400, 404, 501)
# How llama-server can make one vector of a text when the model itself does not say (tools/server/README.md, --pooling).
_POOLINGS = ("mean", "last", "cls")
_COMPARED_TEXTS = 4
# Per value of a cell: 16 bits are the default of both.
_CELL_BYTES = 2.0


@dataclass(frozen=True, slots=True)
class Embedding:
    """Short texts in one request while an answer runs, then the next turn of the conversation of that answer."""

    texts: int
    answer_tokens: int
    undisturbed_pieces: int

    async def __call__(self, stage: Stage, seed: int) -> Values:
        texts = [words(12, 1000 * seed + number) for number in range(self.texts)]
        await self._embed(stage, texts[:1])  # loads what embedding needs
        arrivals = Arrivals()
        question = user(100, "embedding", seed)
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(stage.chat(Ask([question], self.answer_tokens, "listener"), arrivals))
            await arrivals.reach(self.undisturbed_pieces)
            undisturbed_s = median(arrivals.gaps_s())
            began_s = time.perf_counter()
            vectors = await self._embed(stage, texts)
            await arrivals.reach(len(arrivals.times_s) + 1)  # a gap that is still open counts
            longest_s = max(arrivals.gaps_s(since_s=began_s))
        answer = listening.result()
        again = await stage.chat(Ask([question, answer.message(), user(20, "again", seed)], 2, "listener"))
        values = {
            "longest gap / undisturbed": longest_s / undisturbed_s,
            "cached of the next turn": 100 * (again.cached_tokens or 0) / ((answer.prompt_tokens or 0) + answer.tokens),
        }
        if are_programs_built():
            values["difference of vectors"] = await self._difference(stage, texts[:_COMPARED_TEXTS], vectors)
        return values

    async def _embed(self, stage: Stage, texts: list[str]) -> _Vectors:
        # base64, as the official client asks: numbers as text take this process so long to read that the words of the
        # answer, which arrive meanwhile, would seem late.
        wanted = {"model": stage.model.path.stem, "input": texts, "encoding_format": "base64"}
        status, body = await stage.post("/v1/embeddings", wanted)
        return _vectors(status, body)

    async def _difference(self, stage: Stage, texts: list[str], vectors: _Vectors) -> float:
        """The largest of any number of any vector, under the pooling that fits best."""
        return min([await _largest_difference(stage, texts, vectors, pooling) for pooling in _POOLINGS])


async def _largest_difference(stage: Stage, texts: list[str], vectors: _Vectors, pooling: str) -> float:
    with llama_server(stage.model.path, 2048, ["--embeddings", "--pooling", pooling]) as server:
        server.wait_listening()
        wanted = {"input": texts, "encoding_format": "base64"}
        while True:
            async with stage.session.post(f"{server.url}/v1/embeddings", json=wanted) as response:
                if response.status != 503:
                    theirs = _vectors(response.status, await response.json())
                    return float(np.abs(theirs - vectors[: len(texts)]).max())
            await asyncio.sleep(LOADING_PAUSE_S)


def _vectors(status: int, body: Mapping[str, Any]) -> _Vectors:
    if status in _ABSENT:
        raise Unsupported(f"/v1/embeddings answered {status}")
    if status != 200:
        raise RuntimeError(f"/v1/embeddings answered {status}: {body}")
    ordered = sorted(body["data"], key=lambda item: int(item["index"]))
    return np.array([np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in ordered])


EMBEDDING = Scenario(
    name="embedding",
    what="64 short texts embedded while a stream runs",
    values={
        "longest gap / undisturbed": "",
        "cached of the next turn": "% of the turn before",
        "difference of vectors": "",
    },
    plays={"whole": Embedding(64, 400, 24), "quick": Embedding(16, 100, 12), "nano": Embedding(4, 200, 4)},
    promises=(
        Promise("longest gap / undisturbed", most=6.5),
        # The last token is read again in any case, and a server may keep whole blocks of tokens only.
        Promise("cached of the next turn", least=90.0),
        Promise("difference of vectors", most=1e-4),
    ),
    needs=Needs(),
)


@dataclass(frozen=True, slots=True)
class Schema:
    """The same answer free and held to a schema that allows more than is asked for."""

    tokens: int

    async def __call__(self, stage: Stage, seed: int) -> Values:
        free = await stage.chat(Ask([user(16, "free", seed)], self.tokens))
        try:
            held = await stage.chat(Ask([user(16, "held", seed)], self.tokens, extra={"response_format": _FORMAT}))
        except Refused as refusal:
            if refusal.status not in _ABSENT:
                raise
            raise Unsupported(f"a request with response_format was answered {refusal.status}") from refusal
        return {"decode": held.tokens_per_s, "on / off": held.tokens_per_s / free.tokens_per_s}


_FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "stock",
        "schema": {
            "type": "array",
            "minItems": 1000,
            "items": {
                "type": "object",
                "properties": {"part": {"type": "string", "maxLength": 40}, "count": {"type": "integer"}},
                "required": ["part", "count"],
                "additionalProperties": False,
            },
        },
    },
}

SCHEMA = Scenario(
    name="schema",
    what="JSON schema on against off",
    values={"decode": "tokens/s", "on / off": ""},
    plays={"whole": Schema(96), "quick": Schema(32), "nano": Schema(16)},
    promises=(Promise("on / off", least=0.9),),
    needs=Needs(),
    is_smaller_better=False,
)


@dataclass(frozen=True, slots=True)
class Memory:
    """What the process that holds the model has in memory after some answers at once, less weights and cells.

    Weights count with the size of their file and cells with what the shape and their type say, for everybody alike:
    a second copy of the weights, made to suit a processor, is therefore counted.
    """

    tokens: int

    async def __call__(self, stage: Stage, seed: int) -> Values:
        async with asyncio.TaskGroup() as group:
            for stream in range(4):
                group.create_task(stage.chat(Ask([user(60, "memory", seed, stream)], self.tokens, f"caller {stream}")))
        pid = (await stage.resident())["pid"] if stage.kind == "edged" else stage.server.process.pid
        above_bytes = _resident_bytes(pid) - stage.model.size_bytes - _cells_bytes(stage)
        return {"above weights and cells": above_bytes / 2**20}


def _resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/{pid}/status has no VmRSS line; the process may have just ended")


def _cells_bytes(stage: Stage) -> float:
    """Keys and values of the whole context; all of it is written when it is made."""
    shape = SHAPES[stage.model.shape]
    values = 2 * shape.blocks * shape.key_value_heads * shape.head_size * stage.needs.context_tokens
    return values * _CELL_BYTES


MEMORY = Scenario(
    name="memory",
    what="the model's process above weights and cells",
    values={"above weights and cells": "MiB"},
    plays={"whole": Memory(32), "quick": Memory(8), "nano": Memory(2)},
    promises=(
        Promise("above weights and cells", "llama-server", most=1.1),
        Promise("above weights and cells", "tuned", most=1.1),
    ),
    needs=Needs(),
    peers=("llama-server", "tuned"),
)
