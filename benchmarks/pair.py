"""Two models that answer at once.

Every thread of a step waits for the others some hundred times, and spins while it does. Two workers that each use every
core wait for threads that cannot run: together they say a fraction of what one would. So the daemon divides the cores
among those that answer (`local/cores.py`), and both together should lose no more than what halves of a step cost.

The same prompts go to both models one after another, then to both at once; rounds alternate in order and have prompts
of their own, so that no cache helps. The figure is how much the two say together, as a part of what one says alone:
twice the time of one answer over the time of two. Guessing ahead is switched off, because what it saves depends on
what random weights happen to repeat.
"""

import asyncio
import tempfile
from pathlib import Path

from benchmarks import client, synthetic
from benchmarks.report import Figure, Line
from benchmarks.server import Server, daemon
from benchmarks.spread import Runs, ratio

_PROMPT_WORDS = 8
_PROMISED = 0.8
# Shape, quantisation, tokens of an answer: so many that each takes over a second on a desktop.
_MODELS = (("qwen2.5-0.5b", "Q4_0", 96), ("tiny", "Q8_0", 1024))


def measure(is_quick: bool) -> Figure:
    """Rounds of two answers, in turn and at once, for each shape."""
    rounds = 1 if is_quick else 5
    lines: list[Line] = []
    for shape, quant, tokens in _MODELS:
        in_turn, at_once = _measured(shape, quant, tokens // 4 if is_quick else tokens, rounds)
        together, note = ratio(in_turn, at_once)
        lines += [
            Line(f"{shape}: two at once / one alone", together, "of its tokens/s", note=note, least=_PROMISED),
            Line(f"{shape}: one alone", 2 * tokens / in_turn.median, "tokens/s", note=str(in_turn)),
            Line(f"{shape}: two at once, together", 2 * tokens / at_once.median, "tokens/s", note=str(at_once)),
        ]
    return Figure("pair", tuple(lines), {"words_in": _PROMPT_WORDS, "rounds": rounds}, is_quick)


def _measured(shape: str, quant: str, tokens: int, rounds: int) -> tuple[Runs, Runs]:
    """Seconds of two answers one after another, and at once."""
    with tempfile.TemporaryDirectory(dir=synthetic.cache_directory(), prefix="pair-") as folder:
        one = synthetic.build(shape, quant, Path(folder))
        (Path(folder) / "other.gguf").hardlink_to(one)
        settings = {"models.default": one.stem, "models.ensure": '["other"]', "engine.lookup": "false"}
        with daemon(Path(folder), settings=settings) as server:
            server.wait_listening()
            return asyncio.run(_rounds(server, (one.stem, "other"), tokens, rounds))


async def _rounds(server: Server, models: tuple[str, str], tokens: int, rounds: int) -> tuple[Runs, Runs]:
    for model in models:  # loads it, touches every page of it
        await client.one_by_one(server.url, model, [client.prompt(_PROMPT_WORDS, 0)], 8)
    in_turn: list[float] = []
    at_once: list[float] = []
    for number in range(rounds):
        prompts = [client.prompt(_PROMPT_WORDS, 1 + 4 * number + place) for place in range(4)]
        for is_at_once in (bool(number % 2), not number % 2):
            pair = list(zip(models, prompts[2:] if is_at_once else prompts[:2], strict=True))
            answers = [client.one_by_one(server.url, model, [prompt], tokens) for model, prompt in pair]
            if is_at_once:
                at_once.append(max(seconds for _, seconds in await asyncio.gather(*answers)))
            else:
                in_turn.append(sum([(await answer)[1] for answer in answers]))
    return Runs(in_turn), Runs(at_once)
