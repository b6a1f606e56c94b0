"""What Python costs while a model talks.

Decoding a token reads every weight once, so its speed is memory bandwidth divided by the size of the file; all that
Python adds comes on top, per step and not per byte, and weighs the more the smaller the model. Two figures bound it:

*Python's share of a step* on the 0.5B shape: the worker times its steps, the part inside `llama_decode` and the part
inside llama.cpp's sampler; the rest is Python. These are wall-clock times, so waiting for a core counts against us.

*CPU per token beyond decode and sampler*, worker and daemon together, is a sum of three parts:

    daemon      CPU time of all its threads (scheduler statistics, ns) per token, on the 0.5B shape
    step        (step - decode - sampler) per token, on the 0.5B shape
    frames      what the worker's Python thread does between steps: reading and writing frames

The third cannot be seen beside a large model: the Python thread takes part in the engine's computing, and 1 % of that
is more than all frames. So it is measured with a model so small that computing is hardly more than the frames, on one
thread, where the engine neither spins nor sleeps: CPU time of the thread, less its steps. A step's wall-clock time
includes waiting for a core; that wait, which the kernel counts, is added back whole, so the part is an upper bound,
and where the wait is long the sum is not published.
The prompt's rendering, tokenising and admission are in the figures as well, spread over the tokens of its answer.
"""

import asyncio
from dataclasses import dataclass

from benchmarks import client, cpu, synthetic
from benchmarks.report import Fact, Figure, Line
from benchmarks.server import Server, daemon
from benchmarks.spread import WIDEST, Runs

_SHARE_LIMIT_PERCENT = 2.0
_CPU_LIMIT_US = 150.0
# How loose the upper bound may be: a fifth of the promise.
_WAIT_LIMIT_US = 30.0
_PROMPT_WORDS = 60
_SHAPE, _QUANT = "qwen2.5-0.5b", "Q4_0"
_SMALL_SHAPE, _SMALL_QUANT = "nano", "Q8_0"


@dataclass(frozen=True, slots=True)
class Work:
    """Totals at one moment, or what was added between two."""

    tokens: int
    steps: int
    step_s: float
    decode_s: float
    sample_s: float
    daemon_s: float
    thread: cpu.ThreadTime

    def __sub__(self, earlier: "Work") -> "Work":
        return Work(
            self.tokens - earlier.tokens,
            self.steps - earlier.steps,
            self.step_s - earlier.step_s,
            self.decode_s - earlier.decode_s,
            self.sample_s - earlier.sample_s,
            self.daemon_s - earlier.daemon_s,
            self.thread - earlier.thread,
        )

    @property
    def python_share(self) -> float:
        """Of the time of a step."""
        return (self.step_s - self.decode_s - self.sample_s) / self.step_s

    @property
    def step_us(self) -> float:
        """Python inside steps, per token."""
        return 1e6 * (self.step_s - self.decode_s - self.sample_s) / self.tokens

    @property
    def daemon_us(self) -> float:
        """The daemon, per token."""
        return 1e6 * self.daemon_s / self.tokens

    @property
    def frames_us(self) -> float:
        """The worker's Python thread between steps, per token; an upper bound."""
        return 1e6 * (self.thread.ran_s - self.step_s) / self.tokens + self.waited_us

    @property
    def waited_us(self) -> float:
        """How long the worker's Python thread was ready and had no core, per token."""
        return 1e6 * self.thread.waited_s / self.tokens


def measure(is_quick: bool) -> Figure:
    """Lone answers, one after another, on the 0.5B shape and on the small one."""
    rounds, tokens, small_tokens = (1, 32, 256) if is_quick else (5, 128, 1024)
    large = _rounds(_SHAPE, _QUANT, rounds, tokens, {})
    small = _rounds(_SMALL_SHAPE, _SMALL_QUANT, rounds, small_tokens, {"engine.threads": "1"})

    share = Runs([100 * work.python_share for work in large])
    daemon_us, step_us = Runs([work.daemon_us for work in large]), Runs([work.step_us for work in large])
    frames_us = Runs([work.frames_us for work in small])
    waited_us = Runs([work.waited_us for work in small])
    speed = Runs([work.tokens / work.step_s for work in large])
    lines = (
        Line("Python's share of a decode step", share.median, "%", _SHARE_LIMIT_PERCENT, str(share)),
        _total(daemon_us.median + step_us.median + frames_us.median, waited_us.median),
        Line("  daemon", daemon_us.median, "us", note=str(daemon_us)),
        Line("  worker, in its steps", step_us.median, "us", note=str(step_us)),
        Line("  worker, frames between steps", frames_us.median, "us", note=f"{frames_us}, upper bound"),
        Line("decoding, one stream", speed.median, "tokens/s", note=_speed_note(speed)),
    )
    conditions: dict[str, Fact] = {
        "model": f"{_SHAPE} {_QUANT}",
        "words_in": _PROMPT_WORDS,
        "tokens_out": tokens,
        "rounds": rounds,
    }
    return Figure("decode", lines, conditions, is_quick)


def _total(total_us: float, waited_us: float) -> Line:
    what, note = "CPU per token beyond decode and sampler", "the three parts below"
    if waited_us <= _WAIT_LIMIT_US:
        return Line(what, total_us, "us", _CPU_LIMIT_US, note)
    note = f"at most {total_us:.0f}, but the worker waited {waited_us:.0f} us for a core: measure on a quiet machine"
    return Line(what, None, "us", _CPU_LIMIT_US, note)


def _speed_note(speed: Runs) -> str:
    return f"{speed}{'; a disturbed machine' if speed.spread > WIDEST else ''}"


def _rounds(shape: str, quant: str, rounds: int, tokens: int, settings: dict[str, str]) -> list[Work]:
    models = synthetic.cache_directory() / "models" / f"{shape}-{quant}"
    name = synthetic.build(shape, quant, models).stem
    with daemon(models, settings=settings) as server:
        server.wait_listening()
        asyncio.run(client.one_by_one(server.url, name, [client.prompt(8, 0)], 8))  # loads the model
        return [_round(server, name, seed, tokens) for seed in range(1, rounds + 1)]


def _round(server: Server, name: str, seed: int, tokens: int) -> Work:
    before = _totals(server)
    asyncio.run(client.one_by_one(server.url, name, [client.prompt(_PROMPT_WORDS, seed)], tokens))
    return _totals(server) - before


def _totals(server: Server) -> Work:
    (resident,) = server.status()["residents"]
    return Work(
        tokens=resident["completion_tokens"],
        steps=resident["steps"],
        step_s=resident["step_s"],
        decode_s=resident["decode_s"],
        sample_s=resident["sample_s"],
        daemon_s=cpu.all_threads_s(server.process.pid),
        thread=cpu.main_thread(resident["pid"]),
    )
