"""What a model of random weights writes inside a schema is what the schema wants, as another implementation judges it.

A model that means something is kinder to a grammar: this one goes wherever it may. The judge is the package jsonschema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydantic_core
import pytest
from jsonschema import FormatChecker
from jsonschema.validators import validator_for

from edged.chat import Tool, ToolChoice
from edged.errors import CapabilityMissing
from edged.sampling import Constraint, Sampling
from edged.speech.families import _TABLE as TABLE
from edged.speech.families import GENERIC, Family
from edged.speech.forcing import constraint
from edged.worker.constraint import Grammars
from edged.worker.context import Context
from edged.worker.model import Model
from tests.speech.test_reply import read
from tests.worker.schemas import BOUNDED, TOOLS, UNBOUNDED
from tests.worker.test_constraint import Bench

RAW = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=11)
# What an answer may take; a bounded schema's seldom takes a tenth.
MOST_TOKENS = 1024
CONTEXT_TOKENS, SEQUENCES = 4096, 16


@dataclass(frozen=True)
class Answer:
    """What came of one schema."""

    finish: str | None
    text: str
    complaint: str = ""


def draw(bench: Bench, wanted: Mapping[int, Constraint], most: int = MOST_TOKENS) -> dict[int, Answer]:
    """An answer for each, many at once."""
    for id, one in wanted.items():
        bench.ask(id, one, sampling=RAW.for_choice(id), most=most)
    bench.run()
    complaints = {failed.id: failed.message for failed in bench.failed}
    return {id: Answer(bench.finish(id), bench.text(id), complaints.get(id, "")) for id in wanted}


@pytest.fixture(scope="module")
def bench(nano: Path) -> Callable[[], Bench]:
    model = Model(str(nano))
    context = Context(model, context_tokens=CONTEXT_TOKENS, sequences=SEQUENCES, threads=2)
    grammars = Grammars(model)
    return lambda: Bench(context, grammars)


def formats() -> FormatChecker:
    """The package's own checks, and those for which it needs others. "29 February" is taken of any year."""
    checker = FormatChecker()
    # Its own is draft 3's, which has no offset.
    checker.checks("time", ValueError)(lambda text: bool(time.fromisoformat(text.upper()).tzinfo))
    checker.checks("date", ValueError)(lambda text: bool(date.fromisoformat(_leap(text))))
    checker.checks("date-time", ValueError)(lambda text: bool(datetime.fromisoformat(_leap(text.upper())).tzinfo))
    checker.checks("uri", ValueError)(lambda text: bool(urlsplit(text).scheme))
    label = r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
    checker.checks("hostname")(lambda text: bool(re.fullmatch(rf"{label}(\.{label})*", text)))
    days, hours = r"(\d+Y)?(\d+M)?(\d+D)?", r"(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?"
    checker.checks("duration")(lambda text: bool(re.fullmatch(rf"P(?=[\dT])(\d+W|{days}{hours})", text)))
    return checker


def _leap(text: str) -> str:
    """The same day of a year that Python knows and that has a 29 February; a leap second as the one before it."""
    return ("2024" + text[4:]).replace(":60", ":59")


FORMATS = formats()


def judge(schema: Any, value: Any) -> None:
    validator_for(schema)(schema, format_checker=FORMATS).validate(value)


@pytest.fixture(scope="module")
def answers(bench: Callable[[], Bench], request: pytest.FixtureRequest) -> dict[str, list[Answer]]:
    names = [name for name in BOUNDED for _ in range(request.config.getoption("--samples"))]
    wanted = {id: Constraint("json_schema", json.dumps(BOUNDED[name])) for id, name in enumerate(names)}
    drawn = draw(bench(), wanted)
    return {name: [drawn[id] for id, other in enumerate(names) if other == name] for name in BOUNDED}


@pytest.mark.parametrize("name", BOUNDED)
def test_what_came_to_its_end_is_what_the_schema_wants(answers: dict[str, list[Answer]], name: str) -> None:
    for answer in answers[name]:
        assert not answer.complaint
        if answer.finish == "stop":
            judge(BOUNDED[name], json.loads(answer.text))


def test_nearly_all_come_to_their_end(answers: dict[str, list[Answer]]) -> None:
    finished = [answer.finish == "stop" for drawn in answers.values() for answer in drawn]

    assert len(BOUNDED) > 60
    assert sum(finished) >= 0.95 * len(finished)


def test_what_may_go_on_for_ever_is_the_beginning_of_json(bench: Callable[[], Bench]) -> None:
    wanted = {id: Constraint("json_schema", json.dumps(schema)) for id, schema in enumerate(UNBOUNDED.values())}
    for answer in draw(bench(), wanted, most=48).values():
        assert answer.text
        if answer.finish == "stop":
            json.loads(answer.text)
        else:
            pydantic_core.from_json("[" + answer.text, allow_partial="trailing-strings")


# Nothing but the format's own end bounds a text there: noise would go on for ever.
ENDLESS_TEXTS = ("gemma", "minimax-m2", "seed", "minicpm", "qwen-xml", "glm")
TEXTLESS = ["nothing", "move", "choose", "flags", "matrix"]
# Their markers hold "▁", which this vocabulary of pieces takes for a blank; in their own it is a control token.
OTHER_VOCABULARIES = ("deepseek", "deepseek-r1")
FAMILIES = [family for family, _ in TABLE if family.name not in OTHER_VOCABULARIES] + [GENERIC]
CALLS_EACH = 4


def forced(family: Family, tool: Tool) -> Constraint | None:
    """That tool's call; None where the family's calls cannot be forced."""
    with suppress(CapabilityMissing):
        return constraint(
            family, [tool], ToolChoice("required"), None, parallel=False, is_thinking=False, may_think=False
        )
    return None


def pairs() -> Iterator[tuple[Family, Tool]]:
    """Each family with some of the tools, all of them in turn."""
    for index, family in enumerate(FAMILIES):
        names = TEXTLESS if family.name in ENDLESS_TEXTS else list(TOOLS)
        for number in range(CALLS_EACH):
            name = names[(index + number * 4) % len(names)]
            yield family, Tool(name, parameters=json.dumps(TOOLS[name]))


@cache
def unforced() -> set[str]:
    return {family.name for family in FAMILIES if forced(family, Tool("f")) is None}


def test_a_forced_call_is_read_back_as_one_call_whose_arguments_are_what_the_tool_wants(
    bench: Callable[[], Bench],
) -> None:
    asked = {id: pair for id, pair in enumerate(pairs()) if pair[0].name not in unforced()}
    wanted = {id: forced(family, tool) for id, (family, tool) in asked.items()}
    drawn = draw(bench(), {id: one for id, one in wanted.items() if one is not None})

    assert {tool.name for _, tool in asked.values()} == set(TOOLS)
    assert unforced() == {"dsml", "dsml-v4"}
    finished = {id: answer for id, answer in drawn.items() if answer.finish == "stop"}
    assert len(finished) >= 0.95 * len(drawn)
    for id, answer in drawn.items():
        assert not answer.complaint, (asked[id][0].name, answer)
    for id, answer in finished.items():
        family, tool = asked[id]
        found = read(family, [answer.text], (tool,))[0]
        ((name, arguments),) = found.calls
        assert (name, found.words, found.complete) == (tool.name, "", 1), (family.name, answer.text)
        judge(json.loads(tool.parameters), json.loads(arguments))
