"""Eight people at once.

A step reads every weight once, whether it computes one token or eight; on a CPU the reading is most of it. So eight
streams that advance in one `llama_decode` take little longer than one, until the arithmetic of the extra rows costs
more than the reading saves: then bandwidth is free no longer and the gain ends. How much is gained is a property of
the machine as much as of the program, which is why it is measured against another server in the same run.

The same eight requests go to the daemon at once, to the daemon one after another, and at once to the server of
llama-cpp-python, which answers one after another (`rival.py`): same engine file, threads, context, model and client.
Pairs alternate in order, every round has new prompts so that no cache helps anybody, and a ratio is published only of
three or more pairs that agree.

At temperature 0 a stream should say the same beside seven others as alone. Streams that did not are counted: the
logits are the same to the last bit only where a sequence's cells lie in the cache as they would if it were alone. Where
they lie elsewhere the same terms are added in another order, and where two words are nearly as likely the other one is
drawn; one such word changes all that follow. So this is measured with 8-bit cells, which promise it.
"""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks import client, synthetic
from benchmarks.report import Fact, Figure, Line
from benchmarks.rival import rival
from benchmarks.server import Server, daemon
from benchmarks.spread import Runs, ratio

_STREAMS = 8
_PROMPT_WORDS = 60
_RATIO_LIMIT = 0.5
_CONTEXT_TOKENS = 8192
_SHAPE, _QUANT = "qwen2.5-0.5b", "Q4_0"


def measure(is_quick: bool) -> Figure:
    """Rounds of eight requests, three ways."""
    rounds, tokens = (1, 16) if is_quick else (5, 64)
    threads = len(os.sched_getaffinity(0))
    models = synthetic.cache_directory() / "models" / f"{_SHAPE}-{_QUANT}"
    model = synthetic.build(_SHAPE, _QUANT, models)
    settings = {"engine.threads": str(threads), "engine.context_tokens": str(_CONTEXT_TOKENS)}
    settings["engine.sequences"] = str(_STREAMS)
    settings["engine.kv_type"] = "q8_0"  # the rounding of 16-bit cells depends on the neighbours by design
    with daemon(models, settings=settings) as ours, rival(model, threads, _CONTEXT_TOKENS) as theirs:
        ours.wait_listening()
        results = asyncio.run(_rounds(ours, theirs, model, rounds, tokens))

    at_once = Runs([result.at_once_s for result in results])
    alone = Runs([result.alone_s for result in results])
    other = Runs([result.rival_s for result in results])
    changed = sum(result.changed_streams for result in results)
    against_rival, rival_note = ratio(at_once, other)
    against_self, self_note = ratio(at_once, alone)
    lines = (
        Line("8 streams at once", at_once.median, "s", note=str(at_once)),
        Line("the same 8 one after another", alone.median, "s", note=str(alone)),
        Line("the same 8 through llama_cpp.server", other.median, "s", note=str(other)),
        Line("at once / llama_cpp.server", against_rival, "", _RATIO_LIMIT, rival_note),
        Line("at once / one after another", against_self, "", note=self_note),
        Line("streams that said something else alone", changed, f"of {rounds * _STREAMS}", 0),
        Line("at once, all streams together", _STREAMS * tokens / at_once.median, "tokens/s"),
    )
    conditions: dict[str, Fact] = {"model": f"{_SHAPE} {_QUANT}", "threads": threads}
    conditions |= {"context_tokens": _CONTEXT_TOKENS, "words_in": _PROMPT_WORDS, "tokens_out": tokens, "rounds": rounds}
    return Figure("batching", lines, conditions, is_quick)


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds of one round, and how many of its streams said something else together than alone."""

    at_once_s: float
    alone_s: float
    rival_s: float
    changed_streams: int


async def _rounds(ours: Server, theirs: Server, model: Path, rounds: int, tokens: int) -> list[Result]:
    name = model.stem
    for server in (ours, theirs):  # loads the model, touches every page of it
        await client.one_by_one(server.url, name, [client.prompt(8, 0)], 8)
    results = []
    for number in range(rounds):
        prompts = [client.prompt(_PROMPT_WORDS, 1 + number * _STREAMS + stream) for stream in range(_STREAMS)]
        if number % 2:
            _, rival_s = await client.together(theirs.url, name, prompts, tokens)
        texts, at_once_s = await client.together(ours.url, name, prompts, tokens)
        if not number % 2:
            _, rival_s = await client.together(theirs.url, name, prompts, tokens)
        lone_texts, alone_s = await client.one_by_one(ours.url, name, prompts, tokens)
        changed = sum(text != lone for text, lone in zip(texts, lone_texts, strict=True))
        results.append(Result(at_once_s, alone_s, rival_s, changed))
    return results
