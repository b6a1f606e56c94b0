"""How long until somebody is answered.

Starting is bound by Python's imports, not by work: the daemon imports aiohttp and listens before the model is there;
the worker, its own process, maps a file of a few megabytes. Everything has been read before (the page cache is warm),
as it is for every start but the first after power-on.

Measured from the creation of the process: `listening` is the first accepted TCP connection, `answered` the last byte
of the first chat of `guide`, asked again and again from the moment of listening. `scripts/run` adds its check that
nothing needs installing.
"""

import json
import time
import urllib.error
import urllib.request

from benchmarks.report import Figure, Line
from benchmarks.server import Server, daemon
from benchmarks.spread import Runs

_QUESTION = "What can you do?"
_LISTENING_LIMIT_S = 1.0
_ANSWERED_LIMIT_S = 3.0


def measure(is_quick: bool) -> Figure:
    """`scripts/run` and `edged serve`, by turns."""
    rounds = 1 if is_quick else 5
    script, program = [], []
    for _ in range(rounds):
        script.append(_start(through_script=True))
        program.append(_start(through_script=False))
    lines = (
        _line("scripts/run to listening", [listening for listening, _ in script], None),
        _line("scripts/run to the first answered chat", [answered for _, answered in script], _ANSWERED_LIMIT_S),
        _line("edged serve to listening", [listening for listening, _ in program], _LISTENING_LIMIT_S),
        _line("edged serve to the first answered chat", [answered for _, answered in program], None),
    )
    return Figure("start", lines, {"model": "guide", "question": _QUESTION, "rounds": rounds}, is_quick)


def _line(what: str, values: list[float], limit: float | None) -> Line:
    runs = Runs(values)
    return Line(what, runs.median, "s", limit, str(runs))


def _start(*, through_script: bool) -> tuple[float, float]:
    """Seconds to listening and to the end of the first answer."""
    with daemon(through_script=through_script) as server:
        listening_s = server.wait_listening()
        _ask(server)
        return listening_s, time.perf_counter() - server.started_s


def _ask(server: Server) -> None:
    question = {"model": "guide", "messages": [{"role": "user", "content": _QUESTION}], "temperature": 0}
    request = urllib.request.Request(
        server.url + "/v1/chat/completions", json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                if not json.load(answer)["choices"][0]["message"]["content"]:
                    raise RuntimeError(f"guide said nothing to {_QUESTION!r}")
                return
        except urllib.error.HTTPError as refusal:
            if refusal.code != 503:  # 503: not ready yet
                raise
        server.pause()
