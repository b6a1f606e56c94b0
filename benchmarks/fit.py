"""What a model takes, forecast before its first load and measured: all of its context filled, an answer with a format.

    python -m benchmarks.fit              shapes that the constants were not fitted on, contexts, kinds of cells
    python -m benchmarks.fit --constants  the four constants of edged/local/needs.py, from nano and qwen2.5-0.5b

Measured is the most that the worker ever had in memory (VmHWM), which on a device with nothing else of it running is
its proportional share (PSS) as well: beside another worker the pages of libraries would count for half, and the figure
would depend on neighbours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from benchmarks import synthetic
from edged.chat import ChatRequest
from edged.gguf.header import inspect
from edged.host import hardware
from edged.load_wire import Taken
from edged.local import needs
from edged.local.needs import Needs, Way, needs_of
from edged.local.process import WorkerProcess
from edged.sampling import Constraint, Sampling
from edged.wire import KvType, Load, Tuned

FITTED_ON = (("nano", "Q8_0"), ("qwen2.5-0.5b", "Q4_0"))
_SHAPES = (("qwen2.5-1.5b", "Q4_0"), ("llama3.2-1b", "Q4_0"), ("gemma3-1b", "Q4_0"), ("qwen3.5-0.8b", "Q4_0"))
_CONTEXTS = (512, 1024, 4096)
_KINDS: tuple[KvType, ...] = ("f16", "q8_0")
_SEQUENCES = 8
_ANSWER_TOKENS = 24
# Room for the end of the prompt and what is drafted; then the context is full.
_SPARE_TOKENS = 16
# Within which every forecast must be.
BOUND = 0.1
_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "count": {"type": "integer"}},
    "required": ["name", "count"],
}


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one worker: what its load took by its own account, and the most that the process ever had."""

    taken: Taken
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Line:
    """A forecast and what came."""

    shape: str
    way: Way
    needs: Needs
    measured: Measured

    @property
    def error(self) -> float:
        """How far the forecast was off; positive where it was too much."""
        return self.needs.worker_bytes / self.measured.peak_bytes - 1


async def measure(file: Path, way: Way) -> Measured:
    """Load `file` in this way, fill its context, have an answer with a format drawn and judged, and look."""
    process = WorkerProcess(file.stem, lambda error: None)
    load = Load(
        name=file.stem,
        context_tokens=way.context_tokens,
        sequences=way.sequences,
        threads=2,
        gpu_layers=way.gpu_layers,
        tuned=Tuned(2),
        follow_neighbours=False,
        maps_file=way.maps_file,
        repacks=way.repacks,
        lookup=False,
        kv_type=way.kv_type,
    )
    descriptor = os.open(file, os.O_RDONLY)
    try:
        card = await process.load(load, [descriptor])
        assert card.taken is not None
        # Random, or the worker would find them in memory; of the middle of the vocabulary, where words are.
        chance = random.Random(way.context_tokens)
        prompt = card.context_tokens - _ANSWER_TOKENS - _SPARE_TOKENS
        tokens = tuple(chance.randrange(1000, card.vocabulary_tokens // 2) for _ in range(prompt))
        await _answered(process, tokens)
        assert process.pid is not None
        return Measured(card.taken, await asyncio.to_thread(peak_bytes, process.pid))
    finally:
        os.close(descriptor)
        await process.stop()


async def _answered(process: WorkerProcess, tokens: tuple[int, ...]) -> None:
    request = ChatRequest(
        "fit",
        process.name,
        (),
        sampling=Sampling(temperature=0.0),
        logprobs=5,
        constraint=Constraint("json_schema", json.dumps(_SCHEMA)),
        raw_prompt=tokens,
    )
    with process.answering(request, (), _ANSWER_TOKENS) as answers:
        await answers.admitted()
        async for _ in answers.events():
            pass


def peak_bytes(pid: int) -> int:
    """The most that a process had in memory (`VmHWM`; kernel: Documentation/filesystems/proc.rst)."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def forecast(file: Path, way: Way) -> Needs:
    """What the arithmetic says before anything of `file` was ever loaded."""
    return needs_of(inspect(file), file.stat().st_size, way, hardware.features())


def constants(files: list[Path]) -> dict[str, float]:
    """The four that were fitted, from two shapes: what a process takes before and after somebody asks for a format."""
    started, asked, texts, tokens = [], [], [], []
    for file in files:
        header, way = inspect(file), Way(512, _SEQUENCES)
        found, taken = forecast(file, way), asyncio.run(measure(file, way))
        assert taken.taken.process_bytes is not None
        started.append(taken.taken.process_bytes - needs.graphs_bytes(header))
        asked.append(taken.peak_bytes - (found.worker_bytes - found.process_bytes) - taken.taken.process_bytes)
        texts.append(header.vocabulary_tokens + header.build.merges)
        tokens.append(header.vocabulary_tokens)
    per_text = (started[1] - started[0]) / (texts[1] - texts[0])
    per_token = (asked[1] - asked[0]) / (tokens[1] - tokens[0])
    return {
        "STARTED_BYTES": started[0] - per_text * texts[0],
        "TEXT_BYTES": per_text,
        "ASKED_BYTES": asked[0] - per_token * tokens[0],
        "GUIDED_TOKEN_BYTES": per_token,
    }


def table(shapes: Sequence[tuple[str, str]], contexts: Sequence[int], directory: Path) -> Iterator[Line]:
    """Forecast and measured for every shape, context and kind of cells, each worker a fresh one."""
    for shape, quant in shapes:
        file = synthetic.build(shape, quant, directory)
        for context_tokens, kind in product(contexts, _KINDS):
            way = Way(context_tokens, _SEQUENCES, kind)
            yield Line(shape, way, forecast(file, way), asyncio.run(measure(file, way)))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.fit", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--constants", action="store_true", help="fit the constants anew and print them")
    parser.add_argument("--shape", action="append", help="a shape to measure (default: four of 0.5 to 1.5 billion)")
    parser.add_argument("--contexts", type=int, nargs="+", default=list(_CONTEXTS))
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="edged-fit-", dir=synthetic.cache_directory()) as folder:
        directory = Path(folder)
        if chosen.constants:
            files = [synthetic.build(shape, quant, directory) for shape, quant in FITTED_ON]
            for name, value in constants(files).items():
                print(f"{name:20} {value:14,.0f}")
            return 0
        shapes = [(shape, quant) for shape, quant in _SHAPES if not chosen.shape or shape in chosen.shape]
        print("| shape | context | cells | weights | conversations | computing | process | forecast | measured | off |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        worst = 0.0
        for line in table(shapes, chosen.contexts, directory):
            print(_row(line), flush=True)
            worst = max(worst, abs(line.error))
        print(f"\nworst: {worst:.1%}, bound {BOUND:.0%}")
        return 0 if worst <= BOUND else 1


def _row(line: Line) -> str:
    found = line.needs
    parts = (found.weights_bytes + found.repack_bytes, found.cells_bytes, found.compute_bytes, found.process_bytes)
    sizes = [f"{size / 2**20:.0f}" for size in (*parts, found.worker_bytes, line.measured.peak_bytes)]
    cells = [line.shape, f"{line.way.context_tokens:,}", line.way.kv_type, *sizes, f"{line.error:+.1%}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
