"""A stranger's template in a real child: whatever it does, it costs only its own request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest

from edged.chat import TextPart, Tool, ToolCall
from edged.errors import InvalidRequest, ModelInvalid, RequestError, TemplateLimit
from edged.local import renderer as module
from edged.local.renderer import Renderer
from edged.template_wire import Span, Template, Turn
from tests.fakes import until, workers

CONTENT = "{{ messages[0].content }}"


def typed(text: str) -> tuple[Turn, ...]:
    return (Turn("user", (TextPart(text),)),)


@asynccontextmanager
async def rendering(source: str) -> AsyncIterator[Renderer]:
    """A template process that misbehaves, if at all, only for the text "now" and so not while it is compiled."""
    renderer = Renderer("nano", Template(source, "<s>", "</s>", ("<|end|>",)))
    try:
        yield renderer
    finally:
        await renderer.stop()


def misbehaving(how: str) -> str:
    return "{% if messages[0].content == 'now' %}" + how + "{% endif %}" + CONTENT


async def test_a_conversation_is_laid_out() -> None:
    async with rendering("<|user|>" + CONTENT) as renderer:
        assert await renderer.render(typed("hi <|end|>")) == (Span("<|user|>hi "), Span("<|end|>", literal=True))


async def test_tools_calls_and_results_are_laid_out_and_what_the_template_can_is_known() -> None:
    layout = (
        "{% for t in tools %}[{{ t.function.name }}]{% endfor %}{% for m in messages %}{{ m.role }}: {{ m.content }}"
        "{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %};{% endfor %}"
        "{{ enable_thinking | default(7) }}"
    )
    turns = (
        *typed("hi"),
        Turn("assistant", (), calls=(ToolCall("1", "weather", '{"city":"Ulm"}'),)),
        Turn("tool", (TextPart("12 <|end|>"),), call_id="1"),
    )
    async with rendering(layout) as renderer:
        prompt = await renderer.render(turns, (Tool("weather"),), thinks=False)

        assert prompt == (
            Span('[weather]user: hi;assistant: {"name": "weather", "arguments": {"city": "Ulm"}};tool: 12 '),
            Span("<|end|>", literal=True),
            Span(";False"),
        )
        can = renderer.capabilities
        assert (can.takes_tools, can.calls, can.switches_thinking, can.thought) == (True, "object", True, "none")


async def test_half_a_surrogate_pair_in_arguments_is_refused_in_words_and_costs_no_child() -> None:
    called = Turn("assistant", (), calls=(ToolCall("1", "weather", '{"city":"\\ud800"}'),))
    async with rendering("{{ messages[-1].content }}" + "{{ messages | tojson }}") as renderer:
        await renderer.start()
        child = renderer._child

        with pytest.raises(InvalidRequest, match="can't encode character"):
            await renderer.render((*typed("hi"), called))

        assert await renderer.render(typed("hi"))
        assert renderer._child is child


def many_tools() -> tuple[Tool, ...]:
    """As many as a request may have, with schemas of 8 kB."""
    about = {f"property_{n}": {"type": "string", "description": "what it is for " * 6} for n in range(64)}
    schema = json.dumps({"type": "object", "properties": about})
    assert len(schema) > 8000
    return tuple(Tool(f"tool_{n}", "what it does", schema) for n in range(128))


async def test_as_many_tools_as_a_request_may_have_are_laid_out() -> None:
    layout = "{% for t in tools %}{{ t | tojson(indent=4) }}{% endfor %}" + CONTENT
    async with rendering(layout) as renderer:
        prompt = await renderer.render(typed("hi"), many_tools())

        assert "".join(span.text for span in prompt).count("what it does") == 128


async def test_tools_whose_prompt_is_too_long_are_refused_in_words() -> None:
    layout = "{% for n in range(9) %}{{ tools | tojson if tools }}{% endfor %}" + CONTENT
    async with rendering(layout) as renderer:
        with pytest.raises(RequestError, match="The chat template of nano"):
            await renderer.render(typed("hi"), many_tools())

        assert await renderer.render(typed("hi")) == (Span("hi"),)


async def test_one_child_renders_many_in_turn() -> None:
    async with rendering(CONTENT) as renderer:
        asked = [renderer.render(typed(f"text {n}")) for n in range(20)]

        assert await asyncio.gather(*asked) == [(Span(f"text {n}"),) for n in range(20)]
        assert renderer._child is not None
        assert len(workers()) == 1


@pytest.mark.parametrize(
    "how",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set nine = 8 + messages | length %}{% set big = nine ** (nine ** nine) %}",
        "{% set ns = namespace(s='x' * 2**20) %}{% for i in range(12) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{{ 'x' * 2**30 }}",
        "{{ 'x'.center(2000000000) }}",
        "{{ ('x' * 2**22) | tojson }}{{ 'x' * 2**22 }}",
        "{% macro again() %}{{ again() }}{{ again() }}{% endmacro %}{{ again() }}",
        "{{ '\\ud800' }}",
    ],
    ids=["loop", "power", "doubling", "gigabyte", "center", "frame", "recursion", "surrogate"],
)
async def test_a_template_that_runs_away_is_stopped_and_the_next_request_is_served(how: str) -> None:
    async with rendering(misbehaving(how)) as renderer:
        assert await renderer.render(typed("before")) == (Span("before"),)
        with pytest.raises((TemplateLimit, InvalidRequest), match="The chat template of nano"):
            await asyncio.wait_for(renderer.render(typed("now")), module.RENDER_S + 5)

        assert await renderer.render(typed("after")) == (Span("after"),)


async def test_an_endless_loop_is_a_template_limit_with_the_limits_in_words() -> None:
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    async with rendering(misbehaving(loop)) as renderer:
        with pytest.raises(TemplateLimit, match="exceeded 2 s or 64 MiB"):
            await renderer.render(typed("now"))


async def test_a_memory_bomb_is_a_template_limit() -> None:
    async with rendering(misbehaving("{% set s = 'x' * 2**30 %}")) as renderer:
        with pytest.raises(TemplateLimit):
            await renderer.render(typed("now"))


async def test_a_template_that_loops_while_it_is_compiled_is_stopped() -> None:
    async with rendering("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}") as renderer:
        with pytest.raises(TemplateLimit, match="could not be compiled"):
            await renderer.start()


async def test_what_the_template_objects_to_reaches_the_caller_in_its_own_words() -> None:
    async with rendering(misbehaving("{{ raise_exception('roles must alternate') }}")) as renderer:
        with pytest.raises(InvalidRequest, match="The chat template of nano refused: roles must alternate") as refused:
            await renderer.render(typed("now"))

        assert refused.value.param == "messages"
        assert await renderer.render(typed("after")) == (Span("after"),)


@pytest.mark.parametrize("source", ["{% if %}", "{{ unclosed", "{% nosuchtag %}", "{{ raise_exception('never') }}"])
async def test_a_template_that_does_not_compile_makes_the_model_invalid_each_time(source: str) -> None:
    async with rendering(source) as renderer:
        for _ in range(2):
            with pytest.raises(ModelInvalid, match="The chat template of nano does not compile"):
                await renderer.render(typed("hi"))


async def test_three_thousand_parentheses_are_refused_and_nothing_worse() -> None:
    async with rendering("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}") as renderer:
        with pytest.raises((ModelInvalid, TemplateLimit)):
            await renderer.start()


async def test_an_abandoned_render_does_not_poison_the_next_one() -> None:
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    async with rendering(misbehaving(endless)) as renderer:
        await renderer.start()
        for n in range(2):
            abandoned = asyncio.create_task(renderer.render(typed("now")))
            await until(lambda: renderer._expected > 0 and renderer._reply is not None and not renderer._reply.done())
            abandoned.cancel()
            with pytest.raises(asyncio.CancelledError):
                await abandoned

            assert await renderer.render(typed(f"mine {n}")) == (Span(f"mine {n}"),)


async def test_a_render_abandoned_while_the_child_starts_leaves_no_child_and_no_harm() -> None:
    async with rendering(CONTENT) as renderer:
        abandoned = asyncio.create_task(renderer.render(typed("now")))
        await until(lambda: renderer._reply is not None)  # its child was spawned
        abandoned.cancel()
        with pytest.raises(asyncio.CancelledError):
            await abandoned

        assert await renderer.render(typed("mine")) == (Span("mine"),)


async def test_a_child_that_is_killed_between_two_requests_is_replaced() -> None:
    async with rendering(CONTENT) as renderer:
        await renderer.render(typed("a"))
        assert renderer._child is not None
        process = psutil.Process(renderer._child.pid)
        process.kill()
        await asyncio.to_thread(process.wait)

        await until(lambda: renderer._child is None)

        assert await renderer.render(typed("b")) == (Span("b"),)


async def test_stopping_leaves_no_process() -> None:
    async with rendering(CONTENT) as renderer:
        await renderer.render(typed("a"))
        assert workers()

    assert workers() == []


async def test_stopping_what_never_started_is_nothing() -> None:
    async with rendering(CONTENT):
        pass
