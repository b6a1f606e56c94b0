"""How good the predicted first-token times are: an office of callers, each turn as soon as the last answer is there.

    python -m benchmarks.forecast --shape qwen2.5-0.5b --format Q4_0 --callers 8 --turns 8

Every answer of the daemon says when its first word was expected and when it came (`edged.ttft_predicted_ms`,
`edged.ttft_ms`). Nothing else is measured, so a machine that others keep busy disturbs the figures only as far as it
changes faster than the daemon learns. The last line of stdout is one JSON document.
"""

import argparse
import asyncio
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from benchmarks import synthetic
from benchmarks.client import prompt
from benchmarks.server import Server, daemon

# One system prompt for all, of about 300 tokens; user turns of about 40; answers of exactly 64.
_SYSTEM_WORDS, _USER_WORDS, _ANSWER_TOKENS = 250, 33, 64
# The promise: within a quarter for four of five.
WITHIN, SHARE = 0.25, 0.8


@dataclass(frozen=True, slots=True)
class Pair:
    """What was expected and what came, in milliseconds."""

    predicted_ms: float
    real_ms: float

    @property
    def ratio(self) -> float:
        """Above one, it came later than expected."""
        return self.real_ms / self.predicted_ms


async def office(server: Server, model: str, callers: int, turns: int) -> list[Pair]:
    """Every pair of the whole office, but for those that nothing was known for."""
    timeout = aiohttp.ClientTimeout(total=3600)
    async with aiohttp.ClientSession(server.url, timeout=timeout) as session:
        everybody = await asyncio.gather(*(_caller(session, model, number, turns) for number in range(callers)))
    return [pair for caller in everybody for pair in caller]


async def _caller(session: aiohttp.ClientSession, model: str, number: int, turns: int) -> list[Pair]:
    messages = [{"role": "system", "content": prompt(_SYSTEM_WORDS, seed=1)}]
    pairs = []
    for turn in range(turns):
        messages.append({"role": "user", "content": prompt(_USER_WORDS, seed=1000 * number + turn + 2)})
        request = {
            "model": model,
            "messages": messages,
            "max_tokens": _ANSWER_TOKENS,
            "temperature": 0,
            "stream": True,
            "user": f"caller {number}",
        }
        text, facts = await _answer(session, request)
        messages.append({"role": "assistant", "content": text})
        if facts["ttft_predicted_ms"] is not None and facts["ttft_ms"] is not None:
            pairs.append(Pair(facts["ttft_predicted_ms"], facts["ttft_ms"]))
    return pairs


async def _answer(session: aiohttp.ClientSession, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    said, facts = "", dict[str, Any]()
    async with session.post("/v1/chat/completions", json=request) as response:
        response.raise_for_status()
        async for line in response.content:
            if line.startswith(b"data: {"):
                chunk = json.loads(line.removeprefix(b"data: "))
                said += "".join(choice["delta"].get("content", "") for choice in chunk["choices"])
                facts = chunk.get("edged", facts)
    return said, facts


def summary(pairs: list[Pair]) -> dict[str, Any]:
    """The share of predictions within the bound, and how the ratios lie."""
    ratios = sorted(pair.ratio for pair in pairs)
    tenths = statistics.quantiles(ratios, n=10)
    return {
        "requests": len(pairs),
        "within_25_percent": round(sum(abs(ratio - 1) <= WITHIN for ratio in ratios) / len(ratios), 3),
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
    chosen = parser.parse_args()
    with TemporaryDirectory(prefix="edged-forecast-") as folder:
        model = synthetic.build(chosen.shape, chosen.format, Path(folder)).stem
        settings = {"models.default": model, "engine.context_tokens": "16384"}
        with daemon(Path(folder), settings=settings) as server:
            server.wait_listening()
            pairs = asyncio.run(office(server, model, chosen.callers, chosen.turns))
    for pair in pairs if chosen.each else ():
        print(f"{pair.predicted_ms:10.1f} {pair.real_ms:10.1f} {pair.ratio:6.2f}")
    found = summary(pairs)
    verdict = "kept" if found["within_25_percent"] >= SHARE else "MISSED"
    print(f"{found['within_25_percent']:.0%} of {len(pairs)} within 25 %, promised {SHARE:.0%}: {verdict}")
    print(json.dumps({"shape": chosen.shape, "format": chosen.format, **found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
