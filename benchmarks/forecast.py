"""How good the predicted first-token times are: an office of callers, each turn as soon as the last answer is there.

    python -m benchmarks.forecast --shape qwen2.5-0.5b --format Q4_0 --callers 8 --turns 8

Every answer of the daemon says when its first word was expected and when it came (`edged.ttft_predicted_ms`,
`edged.ttft_ms`). Nothing else is measured, so a machine that others keep busy disturbs the figures only as far as it
changes faster than the daemon learns. The system prompt is the owner's, as in `benchmarks/peers/company.py`. One caller
goes ahead of the office, because a daemon that has answered nobody yet expects nothing; an answer of the office without
an expectation is a miss.

Answers are random digits: what random numbers write otherwise is no text, and splits into other tokens when the next
turn quotes it, so that up to 64 more of them would be read again; no answer of a trained model does that to such an
extent. `--any-words` leaves that out. The last line of stdout is one JSON document.
"""

import argparse
import asyncio
import json
import math
import statistics
import string
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from benchmarks import engine, synthetic, vocabulary
from benchmarks.client import prompt
from benchmarks.server import Server, daemon
from benchmarks.shapes import SHAPES

# One system prompt for all, of about 300 tokens; user turns of about 40; answers of exactly 64.
_SYSTEM_WORDS, _USER_WORDS, _ANSWER_TOKENS = 250, 33, 64
# The promise: within a quarter for four of five.
WITHIN, SHARE = 0.25, 0.8


@dataclass(frozen=True, slots=True)
class Pair:
    """What was expected and what came, in milliseconds, and how much of the prompt had to be read."""

    turn: int
    predicted_ms: float | None
    real_ms: float
    queue_ms: float
    read_tokens: int

    @property
    def ratio(self) -> float:
        """Above one, it came later than expected; endless where nothing was expected."""
        return self.real_ms / self.predicted_ms if self.predicted_ms else math.inf

    @property
    def is_near(self) -> bool:
        """As promised."""
        return abs(self.ratio - 1) <= WITHIN


async def office(server: Server, model: str, callers: int, turns: int, bias: dict[str, float]) -> list[Pair]:
    """Every pair of the whole office. `bias` says which tokens answers are made of."""
    timeout = aiohttp.ClientTimeout(total=3600)
    async with aiohttp.ClientSession(server.url, timeout=timeout) as session:
        await _caller(session, model, callers, 2, bias)
        everybody = await asyncio.gather(*(_caller(session, model, number, turns, bias) for number in range(callers)))
    return [pair for caller in everybody for pair in caller]


async def _caller(
    session: aiohttp.ClientSession, model: str, number: int, turns: int, bias: dict[str, float]
) -> list[Pair]:
    messages = [{"role": "system", "content": prompt(_SYSTEM_WORDS, seed=1)}]
    pairs = []
    for turn in range(turns):
        messages.append({"role": "user", "content": prompt(_USER_WORDS, seed=1000 * number + turn + 2)})
        request = {
            "model": model,
            "messages": messages,
            "max_tokens": _ANSWER_TOKENS,
            "temperature": 1,
            "seed": 1000 * number + turn,
            "logit_bias": bias,
            "stream": True,
            "stream_options": {"include_usage": True},
            "user": f"caller {number}",
        }
        text, facts, usage = await _answer(session, request)
        messages.append({"role": "assistant", "content": text})
        read_tokens = usage["prompt_tokens"] - facts["cached_tokens"]
        pairs.append(Pair(turn, facts["ttft_predicted_ms"], facts["ttft_ms"], facts["queue_ms"], read_tokens))
    return pairs


async def _answer(
    session: aiohttp.ClientSession, request: dict[str, Any]
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    said, facts, usage = "", dict[str, Any](), dict[str, Any]()
    async with session.post("/v1/chat/completions", json=request) as response:
        response.raise_for_status()
        async for line in response.content:
            if line.startswith(b"data: {"):
                chunk = json.loads(line.removeprefix(b"data: "))
                said += "".join(choice["delta"].get("content", "") for choice in chunk["choices"])
                facts = chunk.get("edged", facts)
                usage = chunk.get("usage") or usage
    return said, facts, usage


def _digits(shape: str) -> dict[str, float]:
    """As much as can be for the ten digits: in the vocabularies of the shapes each is a token, and stays one."""
    file = engine.source() / "vendor" / "llama.cpp" / "models" / f"ggml-vocab-{SHAPES[shape].vocabulary}.gguf"
    tokens = vocabulary.texts(vocabulary.read(file)["tokenizer.ggml.tokens"])
    return {str(tokens.index(digit)): 100.0 for digit in string.digits}


def summary(pairs: list[Pair]) -> dict[str, Any]:
    """The share of predictions within the bound, and how the ratios lie."""
    ratios = sorted(pair.ratio for pair in pairs if pair.predicted_ms)
    tenths = statistics.quantiles(ratios, n=10)
    return {
        "requests": len(pairs),
        "within_25_percent": round(sum(pair.is_near for pair in pairs) / len(pairs), 3),
        "real_by_predicted_p10": round(tenths[0], 3),
        "real_by_predicted_p50": round(statistics.median(ratios), 3),
        "real_by_predicted_p90": round(tenths[8], 3),
        "ttft_ms_p50": round(statistics.median(pair.real_ms for pair in pairs), 1),
    }


def main() -> int:
    """Build the model, play the office, show how the predictions did."""
    parser = argparse.ArgumentParser(prog="benchmarks.forecast", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", default="qwen2.5-0.5b")
    parser.add_argument("--format", default="Q4_0")
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--each", action="store_true", help="print every request")
    parser.add_argument("--any-words", action="store_true", help="answers of any tokens")
    chosen = parser.parse_args()
    bias = {} if chosen.any_words else _digits(chosen.shape)
    with TemporaryDirectory(prefix="edged-forecast-") as folder:
        model = synthetic.build(chosen.shape, chosen.format, Path(folder)).stem
        shared = json.dumps([prompt(_SYSTEM_WORDS, seed=1)])
        settings = {"models.default": model, "engine.context_tokens": "16384", "engine.shared_prompts": shared}
        with daemon(Path(folder), settings=settings) as server:
            server.wait_listening()
            pairs = asyncio.run(office(server, model, chosen.callers, chosen.turns, bias))
    for pair in pairs if chosen.each else ():
        expected = "-" if pair.predicted_ms is None else f"{pair.predicted_ms:.1f}"
        print(
            f"turn {pair.turn}, {pair.read_tokens:4} tokens read, {pair.queue_ms:8.1f} ms in line: "
            f"expected {expected:>8} ms, came after {pair.real_ms:8.1f} ms: {pair.ratio:5.2f}"
        )
    found = summary(pairs)
    verdict = "kept" if found["within_25_percent"] >= SHARE else "MISSED"
    by_turn = [[pair for pair in pairs if pair.turn == turn] for turn in range(chosen.turns)]
    print("by turn:", " ".join(f"{sum(pair.is_near for pair in turn) / len(turn):.0%}" for turn in by_turn))
    print(f"{found['within_25_percent']:.0%} of {len(pairs)} within 25 %, promised {SHARE:.0%}: {verdict}")
    print(json.dumps({"shape": chosen.shape, "format": chosen.format, **found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
