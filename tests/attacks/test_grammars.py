"""Schemas, expressions and grammars that are made to hang, swell or kill what reads them (J3 to J5).

Each ends with a typed error in seconds or with an answer, another conversation goes on meanwhile, and the process that
decodes lives on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.asking import post
from tests.attacks.enduring import PROMPTLY_S, asking, nobody_waits, nothing_stays, refused, somebody_listening
from tests.daemon_process import DaemonProcess, running


@pytest.fixture(scope="module")
def daemon(tiny: Path) -> Iterator[DaemonProcess]:
    """A daemon with the synthetic model in memory."""
    with running({"tiny": tiny}, '[models]\ndefault = "tiny"\n') as daemon:
        daemon.worker_pid("tiny")
        post(daemon, asking(regex="a"))  # prepares the vocabulary, once
        yield daemon


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
    "a large divisor": of_schema({"type": "integer", "multipleOf": 123_456_789}),
    "large divisors": of_schema({"anyOf": [{"type": "integer", "multipleOf": 60_001 + n} for n in range(50)]}),
    "divisors of one value": of_schema({"allOf": [{"multipleOf": p} for p in (7, 11, 13, 17, 19, 23)]}),
    "names by many patterns": of_schema({"patternProperties": {f"^p{n}[a-z]*$": {} for n in range(500)}}),
    "separators of its own": of_schema({"x-guidance": {"item_separator": "(a|b)*a(a|b){25}"}, "type": "array"}),
    "look-behind in a pattern": of_schema({"type": "string", "pattern": "(?<=a)b"}),
    "overlapping names": of_schema({"patternProperties": {f"^a{n}.*(b|c){{3}}": {} for n in range(500)}}),
    "deeper than any answer": {"json_schema": json.loads('{"a":' * 60 + "1" + "}" * 60) | {"type": 5}},
    "two shapes": {"regex": "a", "grammar": 'root ::= "a"'},
    "two formats": {"regex": "a", "response_format": {"type": "json_object"}},
}
# Odd, and yet each has an answer, or an end in time.
SURVIVED: dict[str, dict[str, Any]] = {
    "many items": of_schema({"type": "array", "minItems": 10**9}),
    "a long string": of_schema({"type": "string", "minLength": 10**9}),
    "2,000 optional properties": of_schema({"properties": {f"p{n}": {"type": "integer"} for n in range(1500)}}),
    "many divisors": of_schema(
        {
            "required": [f"p{n}" for n in range(50)],
            "properties": {f"p{n}": {"type": "integer", "multipleOf": 1301 + n} for n in range(50)},
        }
    ),
    "the largest divisor": of_schema({"type": "integer", "multipleOf": 99_991}),
    "a million items": of_schema({"type": "array", "maxItems": 10**6, "items": {"type": "array", "maxItems": 10**6}}),
    "references a thousand deep": of_schema(
        {
            "$defs": {f"d{n}": {"properties": {"a": {"$ref": f"#/$defs/d{n + 1}"}}} for n in range(700)}
            | {"d700": {"type": "integer"}},
            "$ref": "#/$defs/d0",
        }
    ),
    "a thousand times one of ten": {"regex": "(a|b|c|d|e|f|g|h|i|j){1000,1000}"},
    "letters of every script": {"regex": r"(\p{L}|\p{N}|\p{S}){500}[\p{Han}\p{Cyrillic}]{500}"},
    "everything but": {
        "grammar": "%llguidance {}\nstart: A\nA: ~/(" + "|".join(f".*a.{{{n}}}b.*" for n in range(30)) + ")/"
    },
    "ambiguous and empty": {"grammar": 'root ::= root root | root root root | [a-z] | ""'},
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


def named(corpus: dict[str, dict[str, Any]], row: str) -> Iterable[str]:
    """The cases' names, schemas as row J4 and everything else as `row`."""
    for name, fields in corpus.items():
        yield f"{'J4' if {'response_format', 'json_schema'} & set(fields) else row} {name}"


@pytest.mark.parametrize("fields", REFUSED.values(), ids=named(REFUSED, "J3"))
def test_it_is_refused_in_time_with_a_reason(daemon: DaemonProcess, fields: dict[str, Any]) -> None:
    reply = refused(daemon, asking(**fields))

    assert reply.status == 400
    assert reply.error["code"] in ("grammar_invalid", "invalid_request")


@pytest.mark.parametrize("fields", SURVIVED.values(), ids=named(SURVIVED, "J5"))
def test_it_is_answered_or_given_up_in_time(daemon: DaemonProcess, fields: dict[str, Any]) -> None:
    before, began_s = daemon.worker_pid("tiny"), time.monotonic()

    reply = post(daemon, asking(**fields))

    assert reply.status == 200 or reply.error["code"] in ("grammar_invalid", "queue_full")
    assert time.monotonic() - began_s < PROMPTLY_S
    assert daemon.worker_pid("tiny") == before


def storm(daemon: DaemonProcess) -> None:
    for fields in [*REFUSED.values()][::3]:
        post(daemon, asking(**fields))


@pytest.mark.timeout(180)
def test_another_conversation_goes_on_through_all_of_it_and_nothing_stays(daemon: DaemonProcess) -> None:
    with somebody_listening(daemon) as listener:
        nobody_waits(listener, lambda: storm(daemon))
    with nothing_stays(daemon):
        storm(daemon)
        storm(daemon)
