"""Which model writes its thoughts and calls how: a table, and how a family is recognised by its chat template.

Formats: the templates themselves (llama.cpp's models/templates/), llama.cpp's common/chat.cpp, where a specialised
parser is chosen by what the template's source contains, and its common/parsers/. Phi-4-mini: the chat template of
microsoft/Phi-4-mini-instruct and vLLM's phi4mini_tool_parser.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edged.chat import Tool
from edged.speech.calls import Format, JsonCalls
from edged.speech.harmony import FINAL, THOUGHT, HarmonyParser
from edged.speech.harmony import MARKERS as HARMONY_MARKERS
from edged.speech.literal_calls import GemmaCalls, PythonCalls
from edged.speech.named_calls import NamedCalls
from edged.speech.reply import Parser, TaggedParser, ThoughtTags
from edged.speech.tagged_calls import TaggedCalls


@dataclass(frozen=True, slots=True)
class Family:
    """How models of one kind write. The first of `formats` is the one that is asked for; the others are understood too.

    `call_id_characters` is how long a call's id must be for the template to take it back; None: any length.
    `controls` are tokens that are only a part of markers.
    """

    name: str
    formats: tuple[Format, ...] = ()
    thought: ThoughtTags | None = None
    dropped: tuple[str, ...] = ()
    calls_in_thoughts: bool = False
    is_harmony: bool = False
    call_id_characters: int | None = None
    controls: tuple[str, ...] = ()

    def parser(self, tools: Sequence[Tool], new_id: Callable[[], str], *, is_thinking: bool) -> Parser:
        """Reads one reply; without `tools` what announces calls is ordinary text.

        `is_thinking`: the prompt has opened a thought already (`opens_thought`).
        """
        if self.is_harmony:
            return HarmonyParser(tools, new_id, is_thinking=is_thinking)
        return TaggedParser(
            tools,
            new_id,
            self.formats if tools else (),
            self.thought,
            self.dropped,
            is_thinking=is_thinking,
            calls_in_thoughts=self.calls_in_thoughts,
        )

    @property
    def first_thought(self) -> ThoughtTags | None:
        """What stands around what its models think before they answer; None where they do not."""
        return THOUGHT if self.is_harmony else self.thought

    @property
    def words_open(self) -> str:
        """What stands in front of an answer's words, behind the beginning of its turn."""
        return FINAL if self.is_harmony else ""

    def reads(self, tools: Sequence[Tool]) -> bool:
        """Whether a reply must be read at all: otherwise all of it is for the caller."""
        return bool(self.is_harmony or self.thought or self.dropped or (tools and self.formats))

    def markers(self, tools: Sequence[Tool]) -> tuple[str, ...]:
        """The texts that the parser needs to see even where they are control tokens, which are no text otherwise."""
        if self.is_harmony:
            return HARMONY_MARKERS
        thought = (self.thought.open.strip(), self.thought.close) if self.thought else ()
        calls = [marker for format in self.formats for marker in format.markers] if tools else []
        return tuple(dict.fromkeys((*thought, *self.dropped, *self.controls, *(marker.strip() for marker in calls))))

    def opens_thought(self, prompt: str) -> bool:
        """Whether a rendered prompt ends inside a thought."""
        if self.is_harmony:
            return prompt.endswith(THOUGHT.open)
        return self.thought is not None and prompt.rstrip().endswith(self.thought.open.rstrip())


_THINK = ThoughtTags("<think>", "</think>")
# A template that holds the first text thinks like this, unless its row says how. First come, first served.
_THOUGHTS = (
    ("<seed:think>", ThoughtTags("<seed:think>", "</seed:think>")),
    ("<mm:think>", ThoughtTags("<mm:think>", "</mm:think>")),
    ("[THINK]", ThoughtTags("[THINK]", "[/THINK]")),
    ("<|START_THINKING|>", ThoughtTags("<|START_THINKING|>", "<|END_THINKING|>")),
    ("Here are my reasoning steps:", ThoughtTags("Here are my reasoning steps:\n", "[BEGIN FINAL RESPONSE]")),
    ("</think>", _THINK),
    ("<think>", _THINK),
)

_QWEN_XML = TaggedCalls(
    open="<tool_call>",
    close="</tool_call>",
    call_open="<function=",
    name_end=">",
    call_close="</function>",
    key_open="<parameter=",
    key_ends=(">",),
    value_close="</parameter>",
    value_space="\n",
)
_HERMES = JsonCalls("<tool_call>", "</tool_call>")
_GLM = TaggedCalls(
    open="<tool_call>",
    close="</tool_call>",
    call_open="",
    name_end="",
    call_close="",
    key_open="<arg_key>",
    key_ends=("</arg_key>",),
    value_open="<arg_value>",
    value_close="</arg_value>",
)
_INVOKE = TaggedCalls(
    open="<minimax:tool_call>",
    close="</minimax:tool_call>",
    call_open='<invoke name="',
    name_end='">',
    call_close="</invoke>",
    key_open='<parameter name="',
    key_ends=('">',),
    value_close="</parameter>",
)
_DSML = TaggedCalls(
    open="<｜DSML｜function_calls>",
    close="</｜DSML｜function_calls>",
    call_open='<｜DSML｜invoke name="',
    name_end='">',
    call_close="</｜DSML｜invoke>",
    key_open='<｜DSML｜parameter name="',
    key_ends=('">', '" string="true">', '" string="false">'),
    value_close="</｜DSML｜parameter>",
)
_MINICPM = TaggedCalls(
    open='<function name="',
    close="",
    call_open="",
    name_end='">',
    call_close="</function>",
    key_open='<param name="',
    key_ends=('">',),
    value_close="</param>",
    has_cdata=True,
)
_DEEPSEEK = NamedCalls(
    open="<｜tool▁calls▁begin｜>",
    close="<｜tool▁calls▁end｜>",
    call_open="<｜tool▁call▁begin｜>",
    name_end="<｜tool▁sep｜>",
    call_close="<｜tool▁call▁end｜>",
)
_DEEPSEEK_R1 = replace(
    _DEEPSEEK,
    before_name="function",
    name_behind="<｜tool▁sep｜>",
    name_end="\n",
    behind_name="```json",
    behind_arguments="```",
)
_KIMI = NamedCalls(
    open="<|tool_calls_section_begin|>",
    close="<|tool_calls_section_end|>",
    call_open="<|tool_call_begin|>",
    before_name="functions.",
    name_end="<|tool_call_argument_begin|>",
    call_close="<|tool_call_end|>",
    name_is_id=True,
)
_MISTRAL_LIST = JsonCalls("[TOOL_CALLS]", is_list=True)
_MISTRAL = NamedCalls("[TOOL_CALLS]", "[ARGS]", id_open="[CALL_ID]")
_BARE = JsonCalls("", is_bare=True)

GENERIC = Family("generic", (_BARE,))
# A family and what a template of it contains: all of one group. First come, first served.
_TABLE: tuple[tuple[Family, tuple[tuple[str, ...], ...]], ...] = (
    (Family("harmony", is_harmony=True), (("<|channel|>", "<|message|>"),)),
    (
        Family("gemma", (GemmaCalls(),), ThoughtTags("<|channel>thought", "<channel|>", is_anywhere=True)),
        (("<|tool_call>call:",),),
    ),
    (Family("kimi", (_KIMI,), calls_in_thoughts=True), (("<|tool_calls_section_begin|>", "<|tool_call_begin|>"),)),
    (
        Family("dsml", (_DSML,), calls_in_thoughts=True, controls=("｜DSML｜",)),
        (("DSML", "function_calls"),),
    ),
    (
        Family(
            "dsml-v4",
            (replace(_DSML, open="<｜DSML｜tool_calls>", close="</｜DSML｜tool_calls>"),),
            calls_in_thoughts=True,
            controls=("｜DSML｜",),
        ),
        (("DSML", "tool_calls"),),
    ),
    (Family("deepseek-r1", (_DEEPSEEK_R1, _DEEPSEEK)), (("<｜tool▁calls▁begin｜>", "```json"),)),
    (Family("deepseek", (_DEEPSEEK, _DEEPSEEK_R1)), (("<｜tool▁calls▁begin｜>",),)),
    (
        Family("mistral", (_MISTRAL, _MISTRAL_LIST), call_id_characters=9),
        (("[TOOL_CALLS]", "[CALL_ID]"),),
    ),
    (Family("mistral", (_MISTRAL, _MISTRAL_LIST)), (("[TOOL_CALLS]", "[ARGS]"),)),
    (Family("mistral-list", (_MISTRAL_LIST, _MISTRAL), call_id_characters=9), (("[TOOL_CALLS]",),)),
    (
        Family(
            "command",
            (
                JsonCalls(
                    "<|START_ACTION|>",
                    "<|END_ACTION|>",
                    name_key="tool_name",
                    arguments_key="parameters",
                    is_list=True,
                    inner='"tool_call_id": "0", ',
                ),
            ),
            dropped=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
        ),
        (("<|START_ACTION|>",),),
    ),
    (
        Family("apertus", (JsonCalls("<|tools_prefix|>", "<|tools_suffix|>", is_list=True, name_is_key=True),)),
        (("<|tools_prefix|>",),),
    ),
    (
        Family(
            "lfm2",
            (
                PythonCalls("<|tool_call_start|>", "<|tool_call_end|>"),
                JsonCalls("<|tool_call_start|>", "<|tool_call_end|>", is_list=True),
            ),
        ),
        (("<|tool_call_start|>",), ("<|tool_list_start|>",), ("List of tools: [",)),
    ),
    (Family("nemotron-v2", (JsonCalls("<TOOLCALL>", "</TOOLCALL>", is_list=True),)), (("<TOOLCALL>",),)),
    (Family("minimax-m2", (_INVOKE,), calls_in_thoughts=True), (("<minimax:tool_call>", "<invoke name="),)),
    (
        Family("seed", (replace(_QWEN_XML, open="<seed:tool_call>", close="</seed:tool_call>", value_space=""),)),
        (("<seed:tool_call>",),),
    ),
    (Family("minicpm", (_MINICPM,)), (('<function name="', '<param name="'),)),
    (
        Family("functionary", (NamedCalls("<function=", ">", call_close="</function>"),)),
        (("<function=", "python_tag"),),
    ),
    (
        Family("qwen-xml", (_QWEN_XML, _HERMES), calls_in_thoughts=True),
        (("<tool_call>", "<function=", "<parameter="),),
    ),
    (Family("glm", (_GLM, _HERMES)), (("<tool_call>", "<arg_key>"),)),
    (
        Family("granite", (JsonCalls("<|tool_call|>", is_list=True),), dropped=("<response>", "</response>")),
        (("<|tool_call|> followed by a JSON list",),),
    ),
    (
        Family("phi", (JsonCalls("<|tool_call|>", "<|/tool_call|>", others=("functools",), is_list=True),)),
        (("<|tool|>", "<|/tool|>"), ("<|tool_call|>",)),
    ),
    (Family("functools", (JsonCalls("functools", is_list=True),)), (("functools",),)),
    (
        Family(
            "tool-calls", (JsonCalls("<tool_calls>", "</tool_calls>", is_list=True),), dropped=("[END FINAL RESPONSE]",)
        ),
        (("<tool_calls>[",),),
    ),
    (Family("tool-calls-lines", (JsonCalls("<tool_calls>", "</tool_calls>"),)), (("<tool_calls>\\n",),)),
    (Family("hermes", (_HERMES, _QWEN_XML)), (("<tool_call>", '"arguments"'), ("<tool_call>", '\\"arguments\\"'))),
    (
        Family(
            "llama",
            (
                replace(_BARE, arguments_key="parameters"),
                JsonCalls("<|python_tag|>", arguments_key="parameters"),
                PythonCalls("<|python_tag|>", suffix=".call"),
            ),
        ),
        (("<|python_tag|>",), ("<|start_header_id|>", '"parameters": ')),
    ),
)


def family_of(template: str) -> Family:
    """The family whose format a chat template's source speaks of; `GENERIC` where it speaks of none that is known."""
    family = next((row for row, groups in _TABLE if _speaks_of(template, groups)), GENERIC)
    return _with_thoughts(family, template)


def family_named(name: str, template: str = "") -> Family:
    """A row of the table; its models think as `template` says."""
    family = next((row for row, _ in _TABLE if row.name == name), GENERIC)
    return _with_thoughts(family, template)


def _speaks_of(template: str, groups: tuple[tuple[str, ...], ...]) -> bool:
    return any(all(part in template for part in group) for group in groups)


def _with_thoughts(family: Family, template: str) -> Family:
    if family.thought is not None or family.is_harmony:
        return family
    return replace(family, thought=next((tags for part, tags in _THOUGHTS if part in template), None))
