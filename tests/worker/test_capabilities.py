"""What templates can do is found by trying, and thinking is switched by the variables that they read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edged.chat import ReasoningEffort, TextPart, Tool, ToolCall
from edged.template_wire import Capabilities, Template, Turn
from edged.worker.template import Renderer

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
USER = Turn("user", (TextPart("hi"),))


def compiled(source: str) -> Renderer:
    return Renderer(Template(source, "<s>", "</s>", ("<|im_start|>", "<|im_end|>")))


def of_package(folder: Path, name: str) -> Renderer:
    return compiled((folder / "templates" / f"{name}.jinja").read_text(encoding="utf-8"))


def text(renderer: Renderer, *turns: Turn, **wanted: Any) -> str:
    return "".join(span.text for span in renderer.render(turns, **wanted))


def test_a_plain_template_knows_turns_and_nothing_else() -> None:
    assert compiled(CHATML).capabilities == Capabilities(
        takes_system=True, opens_with_user=False, takes_results=True, takes_word_after_result=True
    )


ANY = Capabilities(
    takes_system=True,
    opens_with_user=False,
    takes_tools=True,
    calls="object",
    takes_results=True,
    takes_parallel_calls=True,
    words_with_calls="beside",
    takes_word_after_result=True,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Qwen-Qwen2.5-7B-Instruct", {}),
        (
            "Qwen-Qwen3-0.6B",
            {"thought": "reasoning_content", "takes_words_with_thought": True, "switches_thinking": True},
        ),
        (
            "Qwen3.5-4B",
            {
                "opens_with_user": True,
                "thought": "reasoning_content",
                "takes_words_with_thought": True,
                "switches_thinking": True,
            },
        ),
        ("Qwen-QwQ-32B", {"thought": "inline", "switches_thinking": True}),
        ("meta-llama-Llama-3.2-3B-Instruct", {"takes_parallel_calls": False, "words_with_calls": "before"}),
        (
            "mistralai-Mistral-Nemo-Instruct-2407",
            {
                "opens_with_user": True,
                "call_ids": "nine",
                "words_with_calls": "none",
                "takes_word_after_result": False,
            },
        ),
        (
            "mistralai-Ministral-3-14B-Reasoning-2512",
            {
                "opens_with_user": True,
                "takes_word_after_result": False,
                "thought": "part",
                "takes_words_with_thought": True,
            },
        ),
        (
            "openai-gpt-oss-120b",
            {
                "takes_parallel_calls": False,
                "words_with_calls": "before",
                "thought": "thinking",
                "efforts": ("low", "medium", "high"),
            },
        ),
        (
            "google-gemma-4-31B-it",
            {"words_with_calls": "before", "thought": "reasoning_content", "switches_thinking": True},
        ),
        (
            "tencent-Hy3",
            {
                "thought": "reasoning_content",
                "takes_words_with_thought": True,
                "switches_thinking": True,
                "efforts": ("low", "high"),
            },
        ),
        ("meetkai-functionary-medium-v3.2", {"calls": "text"}),
        (
            "google-gemma-2-2b-it",
            {
                "takes_system": False,
                "opens_with_user": True,
                "takes_tools": False,
                "calls": "none",
                "takes_parallel_calls": False,
                "takes_results": False,
                "words_with_calls": "none",
            },
        ),
        (
            "LFM2-8B-A1B",
            {"calls": "none", "takes_results": True, "takes_parallel_calls": False, "words_with_calls": "none"},
        ),
    ],
)
def test_families_can_what_their_templates_show(name: str, expected: dict[str, Any], engine_models: Path) -> None:
    found = of_package(engine_models, name).capabilities

    wanted = {field: getattr(ANY, field) for field in Capabilities.__dataclass_fields__} | expected
    assert {field: getattr(found, field) for field in wanted} == wanted


@pytest.mark.parametrize(
    ("name", "on", "off"),
    [
        ("Qwen-Qwen3-0.6B", "assistant\n", "<think>\n\n</think>\n\n"),
        ("deepseek-ai-DeepSeek-V3.1", "<think>", "</think>"),
        ("GLM-4.6", "<|assistant|>", "<think></think>"),
        ("tencent-Hy3", "<think:opensource>", "</think:opensource>"),
        ("Cohere2MoE", "<|START_THINKING|>", "<|END_THINKING|>"),
    ],
)
def test_thinking_is_switched_where_it_can_be(name: str, on: str, off: str, engine_models: Path) -> None:
    renderer = of_package(engine_models, name)

    assert renderer.capabilities.switches_thinking
    assert text(renderer, USER, thinks=True).endswith(on)
    assert text(renderer, USER, thinks=False).endswith(off)


@pytest.mark.parametrize(
    ("effort", "expected"), [("low", "low"), ("medium", "medium"), ("high", "high"), (None, "medium")]
)
def test_the_degree_of_thinking_reaches_the_template(
    effort: ReasoningEffort | None, expected: str, engine_models: Path
) -> None:
    assert f"Reasoning: {expected}\n" in text(of_package(engine_models, "openai-gpt-oss-120b"), USER, effort=effort)


def test_a_degree_that_a_template_refuses_is_the_next_higher_one(engine_models: Path) -> None:
    renderer = of_package(engine_models, "tencent-Hy3")

    assert text(renderer, USER, effort="medium") == text(renderer, USER, effort="high")
    assert text(renderer, USER, effort="low") != text(renderer, USER, effort="high")


def test_a_template_without_switches_is_told_nothing() -> None:
    names = "{{ enable_thinking is defined }}{{ thinking is defined }}{{ reasoning_effort is defined }}"
    renderer = compiled("{{ messages[-1].content }}" + names)

    assert not renderer.capabilities.switches_thinking or "True" not in text(renderer, USER)
    assert text(compiled(CHATML), USER, thinks=True, effort="high") == text(compiled(CHATML), USER)


def test_a_degree_that_is_only_printed_is_no_switch() -> None:
    renderer = compiled("Reasoning: {{ reasoning_effort | default('medium') }}. {{ messages[-1].content }}")

    assert renderer.capabilities.efforts == ("low", "medium", "high")
    assert not renderer.capabilities.switches_thinking
    assert text(renderer, USER, thinks=False).startswith("Reasoning: medium.")


CALLED = (
    USER,
    Turn("assistant", (), calls=(ToolCall("x", "weather", '{"city": "Ulm"}'),)),
    Turn("tool", (TextPart("12 degrees"),), call_id="x"),
)
BY_ID = (
    "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls %}[{{ c.id }}|{{ c.function.arguments | tojson }}]"
    "{% endfor %}{% endfor %}"
)
AS_TEXT = BY_ID.replace("c.function.arguments | tojson", "c.function.name ~ c.function.arguments")


def test_ids_name_the_tool_where_nothing_else_does() -> None:
    """As the template that Kimi K2 was published with (huggingface.co/moonshotai/Kimi-K2-Instruct)."""
    renderer = compiled(BY_ID)

    assert renderer.capabilities.call_ids == "named"
    assert text(renderer, *CALLED) == 'hi[functions.weather:0|{"city": "Ulm"}]12 degrees'


def test_arguments_are_text_where_an_object_would_be_printed_as_python() -> None:
    renderer = compiled(AS_TEXT)

    assert renderer.capabilities.calls == "text"
    assert text(renderer, *CALLED) == 'hi[x|weather{"city": "Ulm"}]12 degrees'


def test_a_schema_that_a_template_trips_over_is_told_in_plain_words() -> None:
    layout = (
        "{% for t in tools %}{% for k, v in t.function.parameters.properties.items() %}"
        "{{ t.function.name + ': ' + k + ' ' + v.type + ' ' + v.description + '\n' }}{% endfor %}{% endfor %}"
        "{{ messages[0].content }}"
    )
    schema = {"properties": {"a": {"type": ["integer", "null"]}, "b": {"anyOf": [{"type": "string"}]}, "c": True}}

    shown = text(compiled(layout), USER, tools=(Tool("t", "", json.dumps(schema)),))

    assert shown == 't: a integer \nt: b string {"anyOf": [{"type": "string"}]}\nt: c string \nhi'
