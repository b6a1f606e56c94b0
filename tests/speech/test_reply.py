"""What a model writes becomes thoughts, words and calls: the same ones however the text is cut, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.chat import Tool
from edged.speech.families import Family, family_named
from edged.speech.literals import gemma_arguments, python_calls
from edged.speech.reply import Arguments, CallOpened, Piece, Thinking, Words
from edged.speech.tagged_calls import typed

WEATHER = Tool(
    "get_weather",
    parameters=json.dumps(
        {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "exact": {"type": "boolean"},
                "near": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["city"],
        }
    ),
)
CLOCK = Tool("clock.now", parameters='{"type":"object","properties":{}}')
TOOLS = (WEATHER, CLOCK)


@dataclass(frozen=True)
class Read:
    """What a reply came to."""

    words: str = ""
    thought: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    complete: int = 0


def read(
    family: Family, pieces: Iterable[str], tools: tuple[Tool, ...] = TOOLS, *, is_thinking: bool = False
) -> tuple[Read, list[Piece]]:
    ids = count(1)
    parser = family.parser(tools, lambda: f"call_{next(ids)}", is_thinking=is_thinking)
    found: list[Piece] = []
    for piece in pieces:
        found += parser.feed(piece)
    found += parser.finish()
    whole = "".join(pieces)
    words, thought, calls = "", "", list[tuple[str, str]]()
    for part in found:
        match part:
            case Words(text, at):
                assert text
                assert whole[at : at + len(text)] == text
                words += text
            case Thinking(text):
                assert text
                thought += text
            case CallOpened(index, id, name):
                assert index == len(calls)
                assert id
                calls.append((name, ""))
            case Arguments(index, text):
                assert index == len(calls) - 1
                calls[index] = (calls[index][0], calls[index][1] + text)
    return Read(words, thought, tuple(calls), parser.complete_calls), found


family = family_named


OSLO = {"city": "Oslo"}
PARIS = {"city": "Paris", "days": 3, "exact": True, "near": ["Lille", 'a "b"']}


def called(*calls: tuple[str, object], words: str = "", thought: str = "") -> Read:
    return Read(words, thought, tuple((name, json.dumps(value)) for name, value in calls), len(calls))


# Family, its template's thoughts, whether the prompt opened one, what the model writes, what it comes to.
SAMPLES: dict[str, tuple[Family, bool, str, Read]] = {
    "qwen": (
        family("hermes", "<think>"),
        False,
        '<think>\nRain?\n</think>\n\nLet me see.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n'
        '</tool_call>\n<tool_call>\n{"name": "clock.now", "arguments": {}}\n</tool_call>',
        called(("get_weather", OSLO), ("clock.now", {}), words="Let me see.", thought="Rain?"),
    ),
    "qwen, thought opened by the prompt": (
        family("hermes", "<think>"),
        True,
        "Rain <tool_call> maybe\n</think>\n\nIt  rains.\n",
        Read("It  rains.\n", "Rain <tool_call> maybe"),
    ),
    "qwen, name last, arguments quoted": (
        family("hermes"),
        False,
        '<tool_call>{"arguments": "{\\"city\\": \\"Oslo\\"}", "name": "get_weather"}</tool_call> Done.',
        called(("get_weather", OSLO), words="Done."),
    ),
    "qwen coder": (
        family("qwen-xml"),
        False,
        "Sure.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n"
        '</parameter>\n<parameter=exact>\ntrue\n</parameter>\n<parameter=near>\n["Lille", "a \\"b\\""]\n'
        "</parameter>\n</function>\n</tool_call>",
        Read(
            "Sure.", "", (("get_weather", '{"city":"Paris","days":3,"exact":true,"near":["Lille", "a \\"b\\""]}'),), 1
        ),
    ),
    "qwen coder, a number that is a city, lines, and a call inside of the thought": (
        family("qwen-xml", "<think>"),
        True,
        "Hm.\n<tool_call>\n<function=get_weather>\n<parameter=city>\n42\n\n</parameter>\n</function>\n</tool_call>\n",
        Read("", "Hm.", (("get_weather", '{"city":"42\\n"}'),), 1),
    ),
    "seed": (
        family("seed", "<seed:think>"),
        False,
        "<seed:think>Hm.</seed:think>Yes.\n<seed:tool_call>\n<function=get_weather>\n<parameter=city>Oslo</parameter>\n"
        "</function>\n</seed:tool_call>",
        Read("Yes.", "Hm.", (("get_weather", '{"city":"Oslo"}'),), 1),
    ),
    "llama": (
        family("llama"),
        False,
        '{"name": "get_weather", "parameters": {"city": "Oslo"}}',
        called(("get_weather", OSLO)),
    ),
    "llama behind its tag": (
        family("llama"),
        False,
        '<|python_tag|>{"type": "function", "name": "get_weather", "parameters": {"city": "Oslo"}}; '
        '{"name": "clock.now", "parameters": {}}',
        called(("get_weather", OSLO), ("clock.now", {})),
    ),
    "llama, a built-in tool": (
        family("llama"),
        False,
        '<|python_tag|>get_weather.call(city="Oslo")',
        called(("get_weather", OSLO)),
    ),
    "mistral of old": (
        family("mistral-list"),
        False,
        '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Oslo"}, "id": "123456789"}, '
        '{"name": "clock.now", "arguments": {}, "id": "123456780"}]',
        called(("get_weather", OSLO), ("clock.now", {})),
    ),
    "mistral": (
        family("mistral", "[THINK]"),
        False,
        '[THINK]Hm.[/THINK]Well.[TOOL_CALLS]get_weather[CALL_ID]123456789[ARGS]{"city": "Oslo"}'
        "[TOOL_CALLS]clock.now[ARGS]{}",
        called(("get_weather", OSLO), ("clock.now", {}), words="Well.", thought="Hm."),
    ),
    "gemma": (
        family("gemma"),
        False,
        '<|channel>thought\nHm.\n<channel|>Well.<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:3,exact:true,'
        'near:[<|"|>Lille<|"|>,<|"|>a "b"<|"|>]}<tool_call|><|tool_call>call:clock.now{}<tool_call|>',
        called(("get_weather", PARIS), ("clock.now", {}), words="Well.", thought="Hm."),
    ),
    "gemma, an empty thought and a stray end": (
        family("gemma"),
        False,
        "<|channel>thought\n<channel|>Well.<|channel>thought\n<channel|><channel|>",
        Read("Well."),
    ),
    "phi": (
        family("phi"),
        False,
        '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Oslo"}}]<|/tool_call|>',
        called(("get_weather", OSLO)),
    ),
    "phi in other words": (
        family("phi"),
        False,
        'functools[{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
        called(("get_weather", OSLO)),
    ),
    "deepseek r1": (
        family("deepseek-r1", "<think>"),
        True,
        "Hm.\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
        '{"city": "Oslo"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>clock.now\n```json\n{}\n'
        "```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        called(("get_weather", OSLO), ("clock.now", {}), thought="Hm."),
    ),
    "deepseek v3.1": (
        family("deepseek", "<think>"),
        False,
        'Well.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Oslo"}<｜tool▁call▁end｜>'
        "<｜tool▁call▁begin｜>clock.now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        called(("get_weather", OSLO), ("clock.now", {}), words="Well."),
    ),
    "deepseek v3.2": (
        family("dsml", "<think>"),
        True,
        'Hm.</think>Well.\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_weather">\n<｜DSML｜parameter '
        'name="city" string="true">42</｜DSML｜parameter>\n<｜DSML｜parameter name="days" '
        'string="false">3</｜DSML｜parameter>\n'
        "</｜DSML｜invoke>\n</｜DSML｜function_calls>",
        Read("Well.", "Hm.", (("get_weather", '{"city":"42","days":3}'),), 1),
    ),
    "gpt-oss": (
        family("harmony"),
        False,
        "<|channel|>analysis<|message|>Rain?<|end|><|start|>assistant<|channel|>commentary<|message|>Let me see.<|end|>"
        "<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
        '{"city": "Oslo"}',
        called(("get_weather", OSLO), words="Let me see.", thought="Rain?"),
    ),
    "gpt-oss, the tool in front of the channel": (
        family("harmony"),
        False,
        ' to=functions.get_weather<|channel|>commentary json<|message|>{"city": "Oslo"}',
        called(("get_weather", OSLO)),
    ),
    "gpt-oss, words": (
        family("harmony"),
        False,
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>It <rains|>.",
        Read("It <rains|>.", "Hm."),
    ),
    "lfm2": (
        family("lfm2", "<think>"),
        False,
        "<think>Hm.</think><|tool_call_start|>[get_weather(city='Paris', days=3, exact=True, near=[\"Lille\", "
        "'a \"b\"']), clock.now()]<|tool_call_end|>Well.",
        called(("get_weather", PARIS), ("clock.now", {}), words="Well.", thought="Hm."),
    ),
    "lfm2 in JSON": (
        family("lfm2"),
        False,
        '<|tool_call_start|>[{"name": "get_weather", "arguments": {"city": "Oslo"}}]<|tool_call_end|>',
        called(("get_weather", OSLO)),
    ),
    "granite": (
        family("granite", "<think>"),
        False,
        '<think>Hm.</think>\n<response>Well.</response><|tool_call|>[{"name": "get_weather", "arguments": '
        '{"city": "Oslo"}}]',
        called(("get_weather", OSLO), words="Well.", thought="Hm."),
    ),
    "nemotron": (
        family("nemotron-v2", "<think>"),
        True,
        'Hm.\n</think>\n\n<TOOLCALL>[{"name": "get_weather", "arguments": {"city": "Oslo"}}]</TOOLCALL>',
        called(("get_weather", OSLO), thought="Hm."),
    ),
    "command": (
        family("command", "<|START_THINKING|>"),
        False,
        "<|START_THINKING|>Hm.<|END_THINKING|><|START_ACTION|>[\n"
        '    {"tool_call_id": "0", "tool_name": "get_weather", "parameters": {"city": "Oslo"}}\n]<|END_ACTION|>',
        called(("get_weather", OSLO), thought="Hm."),
    ),
    "command, words": (
        family("command", "<|START_THINKING|>"),
        False,
        "<|START_RESPONSE|>It rains.<|END_RESPONSE|>",
        Read("It rains."),
    ),
    "apertus": (
        family("apertus"),
        False,
        'Well.<|tools_prefix|>[{"get_weather": {"city": "Oslo"}}, {"clock.now": {}}]<|tools_suffix|>',
        called(("get_weather", OSLO), ("clock.now", {}), words="Well."),
    ),
    "kimi": (
        family("kimi", "<think>"),
        False,
        "<think>Hm.</think>Well.<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
        '<|tool_call_argument_begin|>{"city": "Oslo"}<|tool_call_end|><|tool_calls_section_end|>',
        called(("get_weather", OSLO), words="Well.", thought="Hm."),
    ),
    "minimax m1": (
        family("tool-calls-lines"),
        False,
        '<tool_calls>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n{"name": "clock.now", "arguments": {}}\n'
        "</tool_calls>",
        called(("get_weather", OSLO), ("clock.now", {})),
    ),
    "minimax m2": (
        family("minimax-m2", "<think>"),
        True,
        'Hm.\n</think>\n\nWell.\n<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Oslo'
        '</parameter>\n<parameter name="days">3</parameter>\n</invoke>\n</minimax:tool_call>',
        Read("Well.", "Hm.", (("get_weather", '{"city":"Oslo","days":3}'),), 1),
    ),
    "apriel": (
        family("tool-calls", "Here are my reasoning steps:"),
        True,
        'Hm.\n[BEGIN FINAL RESPONSE]\nWell.\n<tool_calls>[{"name": "get_weather", "arguments": {"city": "Oslo"}}]'
        "</tool_calls>\n[END FINAL RESPONSE]",
        called(("get_weather", OSLO), words="Well.", thought="Hm."),
    ),
    "glm": (
        family("glm", "<think>"),
        False,
        "\n<think>Hm.</think>\nWell.\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>\n<tool_call>clock.now</tool_call>",
        Read("Well.", "Hm.", (("get_weather", '{"city":"Oslo","days":3}'), ("clock.now", "{}")), 2),
    ),
    "minicpm": (
        family("minicpm", "<think>"),
        False,
        '<think>\nHm.\n</think>\n\n<function name="get_weather"><param name="city"><![CDATA[</param>]]></param>'
        '<param name="days">3</param></function>',
        Read("", "Hm.", (("get_weather", '{"city":"</param>","days":3}'),), 1),
    ),
    "functionary": (
        family("functionary"),
        False,
        'Well.<function=get_weather>{"city": "Oslo"}</function>',
        called(("get_weather", OSLO), words="Well."),
    ),
    "generic": (
        family("generic"),
        False,
        '{"tool_calls": [{"name": "get_weather", "arguments": {"city": "Oslo"}}, {"name": "clock.now", '
        '"arguments": {}}]}',
        called(("get_weather", OSLO), ("clock.now", {})),
    ),
    "generic, one in a fence": (
        family("generic"),
        False,
        '```json\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n```',
        called(("get_weather", OSLO)),
    ),
    "OpenAI's own shape": (
        family("generic"),
        False,
        '{"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}',
        called(("get_weather", OSLO)),
    ),
    "generic, an answer in JSON": (
        family("generic"),
        False,
        ' {"name": "Oslo", "parameters": {"a": 1}}',
        Read(' {"name": "Oslo", "parameters": {"a": 1}}'),
    ),
    "broken JSON": (
        family("hermes"),
        False,
        "See \n<tool_call>\n{name: get_weather}\n</tool_call> and <tool_call> and <b>.",
        Read("See \n<tool_call>\n{name: get_weather}\n</tool_call> and <tool_call> and <b>."),
    ),
    "a call of its own between broken ones": (
        family("hermes"),
        False,
        '<tool_call>?<tool_call>{"name": "clock.now", "arguments": {}}</tool_call>!',
        called(("clock.now", {}), words="<tool_call>?!"),
    ),
    "cut off in the arguments": (
        family("hermes"),
        False,
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Os',
        Read("", "", (("get_weather", '{"city": "Os'),)),
    ),
    "cut off in a parameter": (
        family("qwen-xml"),
        False,
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nOs",
        Read("", "", (("get_weather", '{"city":"Os'),)),
    ),
    "cut off before anything is known": (
        family("hermes"),
        False,
        'Well.\n<tool_call>\n{"name": "get_wea',
        Read('Well.\n<tool_call>\n{"name": "get_wea'),
    ),
    "broken behind its beginning": (
        family("hermes"),
        False,
        '<tool_call>{"name": "get_weather", "arguments": {"city": Oslo}}</tool_call>',
        Read("Oslo}}</tool_call>", "", (("get_weather", '{"city": '),)),
    ),
    "a line break inside a string": (
        family("hermes"),
        False,
        '<tool_call>{"name": "get_weather", "arguments": {"city": "New\nYork"}}</tool_call>',
        called(("get_weather", {"city": "New\nYork"})),
    ),
    "no thought after all": (family("hermes", "<think>"), False, "\n <thin ice", Read("\n <thin ice")),
    "a thought without end": (family("hermes", "<think>"), False, "<think>Hm. </thi", Read("", "Hm. </thi")),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_reply_is_read(name: str) -> None:
    family, is_thinking, text, expected = SAMPLES[name]
    assert read(family, [text], is_thinking=is_thinking)[0] == expected


@pytest.mark.parametrize("name", SAMPLES)
def test_it_is_read_the_same_one_character_at_a_time(name: str) -> None:
    family, is_thinking, text, expected = SAMPLES[name]
    assert read(family, text, is_thinking=is_thinking)[0] == expected


@given(st.sampled_from(sorted(SAMPLES)), st.lists(st.integers(0, 400)), st.integers(0, 400))
def test_it_is_read_the_same_at_any_chunking_and_wherever_it_ends(name: str, cuts: list[int], end: int) -> None:
    family, is_thinking, text, _ = SAMPLES[name]
    text = text[:end] if end % 3 else text
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[start:stop] for start, stop in pairwise(places)]
    assert read(family, pieces, is_thinking=is_thinking)[0] == read(family, [text], is_thinking=is_thinking)[0]


MARKS = (
    '<tool_call> </tool_call> <think> </think> <function= f > <parameter= </parameter> </function> { } "name" [ ] , '
    '"arguments" : "get_weather" \\ " [TOOL_CALLS] [ARGS] <|channel|> analysis <|message|> <|end|> <|start|> to= '
    "( ) = 1 functions.get_weather call: <|tool_call> <tool_call|> <|tool <|tool_call_start|> <channel|>"
)
NOISE = st.lists(st.sampled_from([*MARKS.split(" "), "\n", " "]), max_size=40).map("".join)
NAMES = ["hermes", "qwen-xml", "glm", "mistral", "gemma", "harmony", "lfm2", "llama", "generic", "deepseek", "kimi"]


@given(st.sampled_from(NAMES), NOISE, st.data())
def test_noise_is_read_the_same_at_any_chunking(name: str, text: str, data: st.DataObject) -> None:
    kind = family(name, "<think>")
    cuts = data.draw(st.sets(st.integers(0, len(text))))
    places = sorted({0, len(text), *cuts})
    pieces = [text[start:stop] for start, stop in pairwise(places)]
    assert read(kind, pieces)[0] == read(kind, [text])[0]


@given(st.sampled_from(["hermes", "qwen-xml", "glm", "mistral", "lfm2", "llama", "generic", "deepseek", "kimi"]), NOISE)
def test_where_there_is_no_call_all_of_the_text_is_shown(name: str, text: str) -> None:
    found, _ = read(family(name), [text])
    assert found.calls or found.words == text


def test_values_are_what_the_schema_says_they_are() -> None:
    assert [typed("3", frozenset(kinds)) for kinds in (["string"], ["integer"], [], ["string", "integer"])] == [
        '"3"', "3", "3", "3",
    ]  # fmt: skip
    assert typed("3.5", frozenset({"integer"})) == '"3.5"'
    assert typed(" ['a', None, True] ", frozenset({"array"})) == '["a", null, true]'
    assert typed("True", frozenset({"boolean"})) == "true"
    assert typed("'quoted'", frozenset()) == "\"'quoted'\""
    assert typed('"quoted"', frozenset()) == '"\\"quoted\\""'
    assert typed("{x", frozenset({"object"})) == '"{x"'


def test_literals_are_read_like_python_and_like_json() -> None:
    assert python_calls("a.b(x='\\ud83d\\ude42 \\x41\\'', y=-1.5e3, z=(1, [true, None]),)") == [
        ("a.b", {"x": "🙂 A'", "y": -1500.0, "z": [1, [True, None]]})
    ]
    for text in ("", "a", "a(", "a(1)", "a(x=)", "a(x=1) b", "[a()", "a(x=1e999)", "a(x=" + "9" * 5000 + ")", "a(x='"):
        assert python_calls(text) is None
    assert gemma_arguments('{a:{<|"|>b c<|"|>:[1,true]},d:<|"|>}"<|"|>}') == {"a": {"b c": [1, True]}, "d": '}"'}
    assert gemma_arguments("{a:}") is None


@pytest.mark.parametrize("name", NAMES)
def test_without_tools_what_announces_calls_is_text(name: str) -> None:
    text = '<tool_call>{"name": "get_weather", "arguments": {}}</tool_call>[TOOL_CALLS]{"name": "a"}'
    assert read(family(name), [text], ())[0] == Read(text)


def test_a_plain_answer_waits_for_nothing() -> None:
    parser = family("hermes", "<think>").parser(TOOLS, lambda: "id", is_thinking=False)
    shown = [parser.feed(piece) for piece in ("It", " rains", " <", "b>", "so<tool", "ing")]
    assert shown == [
        [Words("It", 0)],
        [Words(" rains", 2)],
        [],
        [Words(" <b>", 8)],
        [Words("so", 12)],
        [Words("<tooling", 14)],
    ]


def test_arguments_come_as_they_are_written() -> None:
    parser = family("hermes").parser(TOOLS, lambda: "id", is_thinking=False)
    parser.feed('<tool_call>{"name": "get_weather", "arguments": {')
    assert parser.feed('"ci') == [CallOpened(0, "id", "get_weather"), Arguments(0, '{"ci')]
    assert parser.feed('ty": "O') == [Arguments(0, 'ty": "O')]
    assert parser.feed('slo"}}</tool') == [Arguments(0, 'slo"}')]
    assert parser.complete_calls == 1


def test_ids_are_the_models_own_where_it_gives_them_in_time() -> None:
    _, pieces = read(family("mistral"), ["[TOOL_CALLS]clock.now[CALL_ID]abcdefghi[ARGS]{}"])
    assert pieces[0] == CallOpened(0, "abcdefghi", "clock.now")
    _, pieces = read(
        family("kimi"), ["<|tool_call_begin|>functions.clock.now:3<|tool_call_argument_begin|>{}<|tool_call_end|>"]
    )
    assert pieces[0] == CallOpened(0, "functions.clock.now:3", "clock.now")


def test_brackets_for_ever_are_no_arguments() -> None:
    deep = "[" * 100_000
    found, _ = read(family("hermes"), ['<tool_call>{"name": "f", "arguments": {"a": ' + deep])
    assert found.complete == 0
    assert len(found.words) + len(found.calls[0][1]) == len('{"a": ' + deep)
    for text in ("<|tool_call_start|>[f(a=" + deep, "<|tool_call_start|>[f(a=" + "-" * 100_000):
        assert read(family("lfm2"), [text])[0] == Read(text)


@pytest.mark.parametrize("name", ["generic", "hermes", "llama"])
def test_lists_of_calls_in_lists_of_calls_for_ever_are_text(name: str) -> None:
    text = '{"tool_calls":[' * 5000

    found, _ = read(family(name), [text])

    assert (found.words, found.calls) == (text, ())
