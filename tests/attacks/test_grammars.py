"""Schemas, expressions and grammars that are made to hang, swell or kill what reads them; and hostile ways to draw.

Each ends with a typed error in seconds or with an answer, another conversation goes on meanwhile, and the process that
decodes lives on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
import pytest

from tests.asking import chunks, client_of, post
from tests.daemon_process import DaemonProcess, running, until

# What the promise allows a slow grammar is 5 s; the rest is for machines that are busy with other things.
PROMPTLY_S = 15.0
# What an allocator keeps for itself, a piece for each thread that there was; it does not grow with every grammar.
NOISE_BYTES = 64 * 2**20


@pytest.fixture(scope="module")
def daemon(tiny: Path) -> Iterator[DaemonProcess]:
    """A daemon with the synthetic model in memory."""
    with running({"tiny": tiny}, '[models]\ndefault = "tiny"\n') as daemon:
        daemon.worker_pid("tiny")
        post(daemon, asking(regex="a"))  # prepares the vocabulary, once
        yield daemon


def asking(**fields: Any) -> dict[str, Any]:
    """A short chat with `fields`."""
    return {"model": "tiny", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}], **fields}


def of_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A strict schema as OpenAI's clients send it."""
    inner = {"name": "attack", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": inner}}


def pattern(n: int) -> dict[str, Any]:
    return {"type": "string", "pattern": f"x.{{{n}}}y"}


REFUSED: dict[str, dict[str, Any]] = {
    # Strings that end the process when llama.cpp's own parser reads them.
    "undefined rule": {"grammar": "root ::= nope"},
    "no root": {"grammar": 'a ::= "a"'},
    "left recursion": {"grammar": 'root ::= root "a"'},
    "indirect left recursion": {"grammar": 'root ::= a\na ::= b "x"\nb ::= a "y"'},
    "nul": {"grammar": "root ::= \0"},
    "many parentheses": {"grammar": "root ::= " + "(" * 30_000 + '"a"' + ")" * 30_000},
    "open parentheses": {"grammar": "root ::= " + "(" * 30_000},
    "repeated 10^18 times": {"grammar": 'root ::= "a"{1000000000000000000}'},
    "a range that runs backwards": {"grammar": "root ::= [z-a]"},
    "not a grammar": {"grammar": "What is the weather?"},
    "too long a grammar": {"grammar": "root ::= " + '"aaaaaaa" ' * 10_000},
    "too long a choice": of_schema({"enum": [f"value {n}" for n in range(100_000)]}),
    "open class": {"regex": "["},
    "deep groups": {"regex": "(" * 30_000 + ")" * 30_000},
    "look-behind": {"regex": "(?<=a)b"},
    "counted counts": {"regex": "((a{1000}){1000}){1000}"},
    "nested stars": {"regex": "(.*.*)*" * 200 + "x"},
    "intersected patterns": of_schema({"allOf": [pattern(n) for n in range(2, 40)]}),
    "intersected properties": of_schema({"allOf": [{"properties": {"a": pattern(n)}} for n in range(2, 40)]}),
    "intersected terminals": {
        "grammar": "%llguidance {}\nstart: A\nA: " + " & ".join(f"/(.*x.{{{n}}}y.*)/" for n in range(2, 40))
    },
    "a schema in a grammar": {"grammar": '%llguidance {}\nstart: %json {"type": "string"}'},
    "itself": of_schema({"$ref": "#"}),
    "each other": of_schema({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
    "nowhere": of_schema({"$ref": "#/nowhere"}),
    "elsewhere": of_schema({"$ref": "https://192.0.2.1/schema.json"}),
    "a file": of_schema({"$ref": "file:///etc/passwd"}),
    "a type that is none": of_schema({"type": ["x", 5, None]}),
    "numbers beyond numbers": of_schema({"type": "integer", "minimum": -(10**300), "maximum": 10**300}),
    "a tiny divisor": of_schema({"type": "number", "multipleOf": 1e-300}),
    "choices of choices": of_schema(
        {"allOf": [{"anyOf": [{"properties": {f"p{i}{j}": {"const": j}}} for j in range(30)]} for i in range(30)]}
    ),
    "look-behind in a pattern": of_schema({"type": "string", "pattern": "(?<=a)b"}),
    "overlapping names": of_schema({"patternProperties": {f"^a{n}.*(b|c){{3}}": {} for n in range(500)}}),
    "deeper than any answer": {"json_schema": json.loads('{"a":' * 60 + "1" + "}" * 60) | {"type": 5}},
    "two shapes": {"regex": "a", "grammar": 'root ::= "a"'},
    "two formats": {"regex": "a", "response_format": {"type": "json_object"}},
    "a token that is none": {"logit_bias": {"999999999": 1}},
    "a token that is no number": {"logit_bias": {"Hello": 1}},
    "a negative token": {"logit_bias": {"-1": 1}},
    "more than certain": {"logit_bias": {"1": 101}},
    "many tokens": {"logit_bias": {str(n): 1 for n in range(100_000)}},
    "a million candidates": {"logprobs": True, "top_logprobs": 10**6},
    "candidates without scores": {"top_logprobs": 3},
}
# Odd, and yet each has an answer, or an end in time.
SURVIVED: dict[str, dict[str, Any]] = {
    "many items": of_schema({"type": "array", "minItems": 10**9}),
    "a long string": of_schema({"type": "string", "minLength": 10**9}),
    "2,000 optional properties": of_schema({"properties": {f"p{n}": {"type": "integer"} for n in range(1500)}}),
    "many divisors": of_schema(
        {
            "required": [f"p{n}" for n in range(200)],
            "properties": {f"p{n}": {"type": "integer", "multipleOf": 1301 + n} for n in range(200)},
        }
    ),
    "an automaton of 2^2000 states": {"regex": "(a|b)*a(a|b){2000}"},
    "nested repetition": {"grammar": 'root ::= (((("a"{0,2000}){0,2000}){0,2000}) "b"){2000}'},
    "ambiguous": {"grammar": "root ::= s+\ns ::= s s s | s s | [a-z ]+ | [a-f ]*"},
    "nothing, for ever": {"grammar": 'root ::= ("" | "")* root | "x"'},
    "rules that double": {
        "grammar": "root ::= r0\n"
        + "".join(f'r{n} ::= r{n + 1} r{n + 1} | "x" | root\n' for n in range(900))
        + 'r900 ::= "y"'
    },
    "many words": {"grammar": "root ::= " + " | ".join(f'"{n}"' for n in range(6000))},
    "long and certain": {"grammar": 'root ::= "' + "x" * 60_000 + '"'},
}


@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused_in_time_with_a_reason(daemon: DaemonProcess, fields: dict[str, Any]) -> None:
    before, began_s = daemon.worker_pid("tiny"), time.monotonic()

    reply = post(daemon, asking(**fields))

    assert reply.status == 400
    assert reply.error["code"] in ("grammar_invalid", "invalid_request", "unsupported_parameter", "capability_missing")
    assert not any(trace in reply.error["message"] for trace in ("Traceback", ".py", ".rs", "panicked", "/root"))
    assert len(reply.error["message"]) < 500
    assert time.monotonic() - began_s < PROMPTLY_S
    assert daemon.worker_pid("tiny") == before


@pytest.mark.parametrize("fields", SURVIVED.values(), ids=SURVIVED.keys())
def test_it_is_answered_or_given_up_in_time(daemon: DaemonProcess, fields: dict[str, Any]) -> None:
    before, began_s = daemon.worker_pid("tiny"), time.monotonic()

    reply = post(daemon, asking(**fields))

    assert reply.status == 200 or reply.error["code"] in ("grammar_invalid", "queue_full")
    assert time.monotonic() - began_s < PROMPTLY_S
    assert daemon.worker_pid("tiny") == before


def test_another_conversation_goes_on_through_all_of_it_and_nothing_stays(daemon: DaemonProcess) -> None:
    worker = psutil.Process(daemon.worker_pid("tiny"))
    storm = [*REFUSED.values()][::3]
    gaps_s: list[float] = []
    stop = Event()

    def listen() -> None:
        with client_of(daemon) as client:
            last_s = None
            for _ in chunks(client, "Go on.", model="tiny", max_tokens=8000, temperature=0):
                now_s = time.monotonic()
                gaps_s.extend([now_s - last_s] if last_s else [])
                last_s = now_s
                if stop.is_set():
                    return

    listener = Thread(target=listen)
    listener.start()
    until(lambda: len(gaps_s) > 20, "the other conversation is under way")
    for fields in storm:
        post(daemon, asking(**fields))
    heard = len(gaps_s)
    until(lambda: len(gaps_s) > heard or not listener.is_alive(), "the other conversation goes on")
    stop.set()
    listener.join()

    ordinary_s = sorted(gaps_s)[len(gaps_s) // 2]
    assert max(gaps_s) < max(3.0, 200 * ordinary_s)
    until(lambda: daemon.status()["running"] == 0, "every slot is free")
    before_bytes = worker.memory_info().rss
    for fields in storm * 2:
        post(daemon, asking(**fields))
    assert worker.memory_info().rss - before_bytes < NOISE_BYTES
