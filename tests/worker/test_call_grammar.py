"""Calls that are forced are calls in the family's own format: the grammar takes them, and they are read back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from edged.chat import Tool, ToolChoice
from edged.errors import CapabilityMissing, InvalidRequest
from edged.sampling import Constraint
from edged.speech.families import family_named
from edged.speech.forcing import constraint
from edged.worker.call_grammar import to_lark
from edged.worker.constraint import _matcher, _tokenizer
from edged.worker.job import CannotDraw
from edged.worker.model import Model
from tests.speech.test_reply import read

if TYPE_CHECKING:
    from llguidance import LLTokenizer

WEATHER = Tool(
    "get_weather",
    parameters=json.dumps(
        {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer"},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        }
    ),
)
CLOCK = Tool("clock.now", parameters='{"type":"object","properties":{}}')
NOTE = Tool("note", parameters='{"type":"object"}')
TOOLS = (WEATHER, CLOCK, NOTE)
REQUIRED = ToolChoice("required")
COLOUR = Constraint("json_schema", '{"enum":["red","green"]}')
# Control tokens in the vocabularies of models that write them.
MARKERS = [
    *("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<think>", "</think>", "<|channel|>", "<|message|>", "<|constrain|>"),
    *("<|start|>", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"),
    *("<｜tool▁calls▁end｜>", "<|tool_call|>", "<|/tool_call|>", "<|tool_call_start|>", "<|tool_call_end|>"),
    *("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", '<|"|>', "<|START_ACTION|>", "<|END_ACTION|>"),
    *("<|tools_prefix|>", "<|tools_suffix|>", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
    *("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<tool_call>", "</tool_call>"),
]


class Bench:
    """A vocabulary, whose spare control tokens go by the names of `markers`."""

    def __init__(self, model: Model, tokenizer: LLTokenizer, markers: Sequence[str]) -> None:
        self.model, self.tokenizer = model, tokenizer
        spare = [control.id for control in model.controls.values() if not model.is_end(control.id)]
        self.controls = dict(zip(markers, spare[: len(markers)], strict=True))

    def tokens(self, text: str) -> list[int]:
        parts = re.split("(" + "|".join(map(re.escape, self.controls)) + ")", text) if self.controls else [text]
        return [
            token
            for part in parts
            for token in (
                [self.controls[part]] if part in self.controls else self.model.tokenize(part, parse_special=False)
            )
        ]

    def takes(self, wanted: Constraint | None, text: str) -> bool:
        """Whether `text`, all of it, is what is wanted."""
        assert wanted is not None
        matcher = _matcher(self.tokenizer, wanted, self.controls)
        tokens = self.tokens(text)
        return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


@pytest.fixture(scope="module")
def tokenizer(vocabulary_of: Callable[[str], Model]) -> LLTokenizer:
    return _tokenizer(vocabulary_of("llama-bpe"))


@pytest.fixture(params=[MARKERS, []], ids=["controls", "texts"])
def bench(vocabulary_of: Callable[[str], Model], tokenizer: LLTokenizer, request: pytest.FixtureRequest) -> Bench:
    return Bench(vocabulary_of("llama-bpe"), tokenizer, request.param)


def wanted(
    name: str,
    thought: str = "",
    *,
    tools: Sequence[Tool] = TOOLS,
    choice: ToolChoice = REQUIRED,
    content: Constraint | None = None,
    parallel: bool = False,
    is_thinking: bool = False,
    may_think: bool = True,
) -> Constraint | None:
    family = family_named(name, thought)
    return constraint(family, tools, choice, content, parallel=parallel, is_thinking=is_thinking, may_think=may_think)


def any_schema(_schema: dict[str, Any]) -> bool:
    """Everything can be followed."""
    return True


ARGUMENTS = '{"city": "Oslo", "unit": "celsius", "days": 3}'
VALUE = json.loads(ARGUMENTS)
# Family, its template's thoughts, and a call as the family writes it.
CALLS = [
    ("hermes", "", '<tool_call>\n{"name": "get_weather", "arguments": ' + ARGUMENTS + "}\n</tool_call>"),
    (
        "hermes",
        "<think>",
        '<think>\nHm.\n</think>\n\n<tool_call>\n{"name": "get_weather", "arguments": ' + ARGUMENTS + "}\n</tool_call>",
    ),
    (
        "qwen-xml",
        "",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n<parameter=unit>\ncelsius\n"
        "</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
    ),
    (
        "seed",
        "",
        "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Oslo</parameter>\n<parameter=unit>celsius</parameter>\n"
        "<parameter=days>3</parameter>\n</function>\n</seed:tool_call>",
    ),
    ("llama", "", '{"name": "get_weather", "parameters": ' + ARGUMENTS + "}"),
    ("generic", "", '{"name": "get_weather", "arguments": ' + ARGUMENTS + "}"),
    ("mistral-list", "", '[TOOL_CALLS][{"name": "get_weather", "arguments": ' + ARGUMENTS + "}]"),
    ("mistral", "", "[TOOL_CALLS]get_weather[ARGS]" + ARGUMENTS),
    ("mistral", "", "[TOOL_CALLS]get_weather[CALL_ID]abcdefgh9[ARGS]" + ARGUMENTS),
    (
        "gemma",
        "",
        '<|channel>thought\nHm.<channel|><|tool_call>call:get_weather{city:<|"|>Oslo<|"|>,days:3,unit:<|"|>celsius<|"|>}'
        "<tool_call|>",
    ),
    ("phi", "", '<|tool_call|>[{"name": "get_weather", "arguments": ' + ARGUMENTS + "}]<|/tool_call|>"),
    (
        "deepseek-r1",
        "",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n" + ARGUMENTS + "\n```"
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ),
    (
        "deepseek",
        "",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>" + ARGUMENTS + "<｜tool▁call▁end｜>"
        "<｜tool▁calls▁end｜>",
    ),
    (
        "harmony",
        "",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather "
        "<|constrain|>json<|message|>" + ARGUMENTS,
    ),
    ("lfm2", "", '<|tool_call_start|>[get_weather(city="Oslo", days=3, unit="celsius")]<|tool_call_end|>'),
    ("granite", "", '<|tool_call|>[{"name": "get_weather", "arguments": ' + ARGUMENTS + "}]"),
    ("nemotron-v2", "", '<TOOLCALL>[{"name": "get_weather", "arguments": ' + ARGUMENTS + "}]</TOOLCALL>"),
    (
        "command",
        "",
        '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "get_weather", "parameters": ' + ARGUMENTS + "}]"
        "<|END_ACTION|>",
    ),
    ("apertus", "", '<|tools_prefix|>[{"get_weather": ' + ARGUMENTS + "}]<|tools_suffix|>"),
    (
        "kimi",
        "",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>" + ARGUMENTS
        + "<|tool_call_end|><|tool_calls_section_end|>",
    ),
    (
        "minimax-m2",
        "",
        '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Oslo</parameter>\n<parameter '
        'name="unit">celsius</parameter>\n<parameter name="days">3</parameter>\n</invoke>\n</minimax:tool_call>',
    ),
    ("tool-calls", "", '<tool_calls>[{"name": "get_weather", "arguments": ' + ARGUMENTS + "}]</tool_calls>"),
    (
        "glm",
        "",
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n<arg_key>unit</arg_key>\n"
        "<arg_value>celsius</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
    ),
    (
        "minicpm",
        "",
        '<function name="get_weather"><param name="city">Oslo</param><param name="unit">celsius</param>'
        '<param name="days">3</param></function>',
    ),
    ("functionary", "", "<function=get_weather>" + ARGUMENTS + "</function>"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "thought", "text"), CALLS)
def test_a_forced_call_is_what_the_family_writes_and_is_read_back(
    bench: Bench, name: str, thought: str, text: str
) -> None:
    assert bench.takes(wanted(name, thought), text)
    found = read(family_named(name, thought), [text], TOOLS)[0]
    assert (found.words, found.complete) == ("", 1)
    assert [(tool, json.loads(arguments)) for tool, arguments in found.calls] == [("get_weather", VALUE)]


@pytest.mark.parametrize(("name", "thought", "text"), CALLS)
def test_nothing_else_is_taken(bench: Bench, name: str, thought: str, text: str) -> None:
    forced = wanted(name, thought)
    assert not bench.takes(forced, "It rains.")
    assert not bench.takes(forced, text.replace("get_weather", "get_rich"))
    assert not bench.takes(forced, text.replace("celsius", "kelvin"))
    assert not bench.takes(forced, text.replace("3", "three"))
    assert not bench.takes(forced, text + " " + text)


@pytest.mark.parametrize(
    "name", ["hermes", "qwen-xml", "mistral", "gemma", "deepseek", "lfm2", "granite", "glm", "kimi"]
)
def test_a_named_tool_without_arguments_several_times_if_they_may_be(bench: Bench, name: str) -> None:
    texts = {
        "hermes": '<tool_call>\n{"name": "clock.now", "arguments": {}}\n</tool_call>\n' * 2,
        "qwen-xml": "<tool_call>\n<function=clock.now>\n</function>\n</tool_call>\n" * 2,
        "mistral": "[TOOL_CALLS]clock.now[ARGS]{}" * 2,
        "gemma": "<|tool_call>call:clock.now{}<tool_call|>" * 2,
        "deepseek": "<｜tool▁calls▁begin｜>" + "<｜tool▁call▁begin｜>clock.now<｜tool▁sep｜>{}<｜tool▁call▁end｜>" * 2
        + "<｜tool▁calls▁end｜>",
        "lfm2": "<|tool_call_start|>[clock.now(), clock.now()]<|tool_call_end|>",
        "granite": '<|tool_call|>[{"name": "clock.now", "arguments": {}}, {"name": "clock.now", "arguments": {}}]',
        "glm": "<tool_call>clock.now\n</tool_call>\n" * 2,
        "kimi": "<|tool_calls_section_begin|>"
        + "<|tool_call_begin|>functions.clock.now:0<|tool_call_argument_begin|>{}<|tool_call_end|>" * 2
        + "<|tool_calls_section_end|>",
    }  # fmt: skip
    text, named = texts[name].rstrip("\n"), ToolChoice("required", "clock.now")
    assert bench.takes(wanted(name, choice=named, parallel=True), text)
    assert not bench.takes(wanted(name, choice=named), text)
    assert read(family_named(name), [text], TOOLS)[0].calls == (("clock.now", "{}"),) * 2


def test_a_thought_that_the_prompt_has_opened_must_end_first(bench: Bench) -> None:
    forced = wanted("hermes", "<think>", is_thinking=True)
    call = '<tool_call>\n{"name": "clock.now", "arguments": {}}\n</tool_call>'
    assert bench.takes(forced, "Hm.\n</think>\n\n" + call)
    assert not bench.takes(forced, call)
    assert not bench.takes(wanted("hermes", "<think>", may_think=False), "<think>Hm.</think>" + call)


def test_white_space_around_calls_is_what_the_parser_reads_over(bench: Bench) -> None:
    """Any other of Unicode's would be shown as words, and keep a thought from being one."""
    calls = wanted("hermes", "<think>", choice=ToolChoice("required", "clock.now"), parallel=True)
    call = '<tool_call>\n{"name": "clock.now", "arguments": {}}\n</tool_call>'
    for space, is_taken in ((" \t\n", True), ("\u2002", False), ("\x85", False)):
        for text in (space + "<think>Hm.</think>" + call, "<think>Hm.</think>" + space + call, call + space + call):
            assert bench.takes(calls, text) is is_taken
            found = read(family_named("hermes", "<think>"), [text], TOOLS)[0]
            assert (found.words == "") is is_taken


def test_an_answer_in_a_format_or_a_call(bench: Bench) -> None:
    either = wanted("hermes", "<think>", choice=ToolChoice(), content=COLOUR)
    assert bench.takes(either, '"red"')
    assert bench.takes(either, '<think>Hm.</think>\n\n"red"')
    assert bench.takes(either, '<tool_call>\n{"name": "clock.now", "arguments": {}}\n</tool_call>')
    assert not bench.takes(either, '"blue"')
    bare = wanted("llama", choice=ToolChoice(), content=Constraint("json_schema", '{"type":"object"}'))
    assert bench.takes(bare, '{"name": "clock.now", "parameters": {}}')
    assert bench.takes(bare, '{"a": 1}')


def test_an_answer_in_a_format_stands_where_the_family_answers(bench: Bench) -> None:
    for content, answer in ((COLOUR, '"red"'), (Constraint("regex", "red/green"), "red/green")):
        final = wanted("harmony", choice=ToolChoice("none"), content=content)
        assert bench.takes(final, f"<|channel|>final<|message|>{answer}")
        assert bench.takes(
            final, f"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>{answer}"
        )
        assert not bench.takes(final, answer)
    thought = wanted("hermes", "<think>", tools=(), choice=ToolChoice(), content=COLOUR, is_thinking=True)
    assert bench.takes(thought, 'Hm.</think>\n\n"red"')
    assert wanted("hermes", tools=(), choice=ToolChoice(), content=COLOUR) is COLOUR


def test_strict_tools_are_held_to_their_schemas_and_words_are_free(bench: Bench) -> None:
    strict = (Tool("get_weather", parameters=WEATHER.parameters, is_strict=True), CLOCK)
    for name, text in (
        ("hermes", '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo", "days": 3}}\n</tool_call>'),
        ("mistral", '[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo", "days": 3}'),
    ):
        held = wanted(name, tools=strict, choice=ToolChoice(), parallel=True)
        assert bench.takes(held, "It <rains> [here].")
        assert bench.takes(held, "Let me see. " + text)
        assert bench.takes(held, "Let me see. " + text + " And " + text + " so.")
        assert not bench.takes(held, "Let me see. " + text.replace("3", '"three"'))
    assert wanted("llama", tools=strict, choice=ToolChoice()) is None
    assert wanted("hermes", choice=ToolChoice()) is None


def test_what_cannot_be_had_together_is_refused() -> None:
    assert wanted("hermes", content=COLOUR) == wanted("hermes")  # there will be no answer to have that format
    grammar = Constraint("gbnf", 'root ::= "a"')
    assert wanted("hermes", "<think>", tools=(), choice=ToolChoice(), content=grammar) is grammar
    with pytest.raises(InvalidRequest, match="A grammar cannot be combined with tools"):
        wanted("hermes", choice=ToolChoice(), content=grammar)
    with pytest.raises(InvalidRequest, match="turn thinking off"):
        wanted("hermes", "<think>", tools=(), choice=ToolChoice(), content=grammar, is_thinking=True)
    with pytest.raises(CapabilityMissing, match="cannot be forced"):
        wanted("dsml")


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"type": "string", "pattern": f"a{index}"} for index in range(30)]},
        {"type": "number", "multipleOf": 999_983},
        {"patternProperties": {f"a{index}": {} for index in range(500)}},
        {"x-guidance": {"whitespace_pattern": ".*"}},
    ],
)
@pytest.mark.parametrize("name", ["hermes", "qwen-xml", "lfm2"])
def test_hostile_schemas_are_refused_before_anything_compiles_them(bench: Bench, name: str, schema: Any) -> None:
    tool = Tool("f", parameters=json.dumps({"type": "object", "properties": {"a": schema}, "required": ["a"]}))
    if name == "qwen-xml" and schema.get("type") != "number":
        return  # such a parameter is any text there
    if name == "hermes" and "x-guidance" in schema:
        return  # inside of a schema it says nothing
    with pytest.raises(CannotDraw):
        bench.takes(wanted(name, tools=(tool,)), "")


def test_what_a_stranger_writes_stays_inside_of_its_place() -> None:
    start = {"all": [{"regex": 'a/\nstart: "b" \\/'}, {"text": '"\nstart: <[1]>'}, {"marker": "<x>"}]}
    lark = to_lark(json.dumps({"start": start, "rules": {}}), {"<x>": 7}, " ", any_schema)
    assert lark.splitlines() == [
        "%llguidance {}",
        r'start: rule_0 "\"\nstart: <[1]>" <[7]>',
        r'rule_0: /a\/\nstart: "b" \//',
    ]
    for bad in ("", "a\\", "a\\\\\\"):
        with pytest.raises(ValueError, match="half an escape"):
            to_lark(json.dumps({"start": {"regex": bad}, "rules": {}}), {}, " ", any_schema)
    with pytest.raises(ValueError, match="at most 262144"):
        to_lark(json.dumps({"start": {"text": "a" * 300_000}, "rules": {}}), {}, " ", any_schema)


def _branching(width: int) -> dict[str, Any]:
    """An object whose every property is such an object again."""
    node = {"type": "object", "properties": {f"p{number}": {"$ref": "#/$defs/a"} for number in range(width)}}
    return {"$defs": {"a": node}, "$ref": "#/$defs/a", **node}


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("gemma", _branching(20)),
        ("gemma", {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(3000)}}),
        ("lfm2", {"type": "object", "properties": {f"p{number}": {"type": "integer"} for number in range(3000)}}),
        (
            "qwen-xml",
            {
                "type": "object",
                "properties": {f"p{number}": {"$ref": "#/$defs/a"} for number in range(1000)},
                "$defs": {"a": {"type": "object", "description": "x" * 9000}},
            },
        ),
    ],
)
def test_a_small_schema_cannot_ask_for_a_large_grammar(name: str, schema: dict[str, Any]) -> None:
    tool = Tool("f", parameters=json.dumps(schema))

    with pytest.raises(InvalidRequest, match="too many"):
        constraint(
            family_named(name), [tool], ToolChoice("required"), None, parallel=False, is_thinking=False, may_think=False
        )
