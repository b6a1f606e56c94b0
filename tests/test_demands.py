"""Which model can do what is asked: whoever leaves the choice to the device gets one that can, if any can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.chat import ChatRequest, ImagePart, MadeFor, Message, Overflow, TextPart, Tool, ToolChoice
from edged.demands import SCORES, VECTORS, Demands, check, chosen, demands_of
from edged.errors import CapabilityMissing
from edged.gguf.header import Gguf
from edged.gguf.tensors import Tensors
from edged.local.fit import Ease
from edged.routing import largest
from edged.store import ModelFile

TALK = (Message("user", (TextPart("Hello"),)),)
IMAGE = (Message("user", (TextPart("What is it?"), ImagePart("image/png", b"png"))),)
TOOLS = (Tool("look"),)
CHAT = ChatRequest("1", messages=TALK)
ROOM_BYTES = 100 * 2**20


def file(
    name: str,
    size_bytes: int = 1,
    template: str = "{{ messages }}",
    made_for: MadeFor = "words",
    *,
    context_tokens: int = 4096,
    fills_gaps: bool = False,
    problem: str = "",
) -> ModelFile:
    header = Gguf(
        made_for,
        "llama",
        {"llama.context_length": context_tokens},
        template,
        tensors=Tensors(count=1),
        has_template=bool(template),
        fills_gaps=fills_gaps,
    )
    return ModelFile(name, Path(f"/{name}.gguf"), size_bytes, 0, made_for, header, problem)


PLAIN, HANDY = file("plain", 2), file("handy", 1, "{{ messages }}{{ tools }}")
FILLER, LONG = file("filler", fills_gaps=True), file("long", context_tokens=100_000)
BASE, VECTOR, JUDGE = file("base", template=""), file("vector", made_for="vectors"), file("judge", made_for="scores")
ALL = (PLAIN, HANDY, FILLER, LONG, BASE, VECTOR, JUDGE)


def best(files: Sequence[ModelFile]) -> ModelFile | None:
    return largest(files, lambda file: Ease.AS_WISHED if file.size_bytes < ROOM_BYTES else Ease.NOT_AT_ALL)


@pytest.mark.parametrize(
    ("demands", "name"),
    [
        (demands_of(CHAT), "plain"),
        (demands_of(replace(CHAT, tools=TOOLS)), "handy"),
        (demands_of(replace(CHAT, tools=TOOLS, tool_choice=ToolChoice("none"))), "plain"),
        (demands_of(replace(CHAT, messages=(Message("user", (TextPart("word " * 10_000),)),))), "long"),
        (demands_of(ChatRequest("1", raw_prompt="def f(", suffix="return x")), "filler"),
        (demands_of(ChatRequest("1", raw_prompt="once")), "plain"),
        (VECTORS, "vector"),
        (SCORES, "judge"),
    ],
)
def test_the_default_answers_unless_another_can_what_it_cannot(demands: Demands, name: str) -> None:
    assert chosen(PLAIN, ALL, demands, best).name == name


def test_of_several_that_can_the_largest_that_fits_answers() -> None:
    small, large, huge = (file(name, size, "{{ tools }}") for name, size in (("s", 3), ("l", 4), ("h", 2**30)))
    demands = demands_of(replace(CHAT, tools=TOOLS))

    assert chosen(PLAIN, (PLAIN, small, large, huge), demands, best) is large
    assert chosen(PLAIN, (PLAIN, huge), demands, best) is PLAIN, "tools can be told of in words, too"
    assert chosen(VECTOR, (VECTOR, huge), demands, best) is huge, "whoever must will be told what it takes"


@pytest.mark.parametrize("overflow", ["refuse", "drop"])
def test_a_conversation_that_may_be_shortened_fits_everybody(overflow: Overflow) -> None:
    long = replace(CHAT, messages=(Message("user", (TextPart("word " * 10_000),)),), overflow=overflow)

    assert chosen(PLAIN, ALL, demands_of(long), best) is (LONG if overflow == "refuse" else PLAIN)


def test_a_prompt_that_fits_nobody_is_left_to_the_default_which_counts_it() -> None:
    endless = replace(CHAT, messages=(Message("user", (TextPart("word " * 1_000_000),)),))

    assert chosen(PLAIN, ALL, demands_of(endless), best) is PLAIN


def test_nobody_sees() -> None:
    with pytest.raises(CapabilityMissing, match=r"^The model plain cannot see images\.$") as refused:
        chosen(PLAIN, ALL, demands_of(replace(CHAT, messages=IMAGE)), best)
    assert refused.value.param == "messages"


def test_a_broken_default_is_not_passed_over_in_silence_by_those_who_want_words() -> None:
    broken = replace(PLAIN, problem="it is cut off.")

    assert chosen(broken, (broken, HANDY), demands_of(CHAT), best) is broken
    assert chosen(broken, (broken, VECTOR), VECTORS, best) is VECTOR


@pytest.mark.parametrize(
    ("asked", "demands", "says"),
    [
        (VECTOR, demands_of(CHAT), "The model vector was made for vectors and writes no text. Use /v1/embeddings"),
        (JUDGE, demands_of(CHAT), "The model judge was made for scores and writes no text. Use /v1/rerank"),
        (JUDGE, VECTORS, "The model judge is a reranker"),
        (PLAIN, SCORES, "The model plain is no reranker"),
        (BASE, demands_of(CHAT), "The model base has no chat template"),
        (
            PLAIN,
            demands_of(ChatRequest("1", raw_prompt="a", suffix="b")),
            "The model plain was not trained to",
        ),
    ],
)
def test_a_named_model_that_cannot_is_refused_with_the_names_of_others(
    asked: ModelFile, demands: Demands, says: str
) -> None:
    with pytest.raises(CapabilityMissing) as refused:
        check(asked, ALL, demands)
    assert str(refused.value).startswith(says)
    assert "Installed, and able to: " in str(refused.value)

    with pytest.raises(CapabilityMissing) as refused:
        check(asked, (asked,), demands)
    assert "Installed" not in str(refused.value)


@pytest.mark.parametrize("demands", [demands_of(replace(CHAT, tools=TOOLS)), VECTORS])
def test_what_is_only_liked_refuses_nobody(demands: Demands) -> None:
    check(PLAIN, ALL, demands)


def test_a_broken_file_is_told_to_be_broken_and_not_to_be_unable() -> None:
    check(replace(VECTOR, problem="it is cut off."), ALL, demands_of(CHAT))


FILES = st.builds(
    file,
    st.uuids().map(str),
    st.integers(1, 2**30),
    st.sampled_from(["", "{{ messages }}", "{{ messages }}{{ tools }}", "</think>"]),
    st.sampled_from(["words", "vectors", "scores"]),
    context_tokens=st.sampled_from([8, 4096, 100_000]),
    fills_gaps=st.booleans(),
    problem=st.sampled_from(["", "", "it is cut off."]),
)
REQUESTS = st.one_of(
    st.builds(
        ChatRequest,
        st.just("1"),
        messages=st.sampled_from([TALK, IMAGE, (Message("user", (TextPart("word " * 5000),)),)]),
        tools=st.sampled_from([(), TOOLS]),
        tool_choice=st.sampled_from([ToolChoice(), ToolChoice("none"), ToolChoice("required")]),
        overflow=st.sampled_from(["refuse", "drop"]),
    ),
    st.builds(ChatRequest, st.just("1"), raw_prompt=st.sampled_from(["a", (1, 2)]), suffix=st.sampled_from(["", "b"])),
)
NEEDS = st.one_of(st.just(VECTORS), st.just(SCORES), REQUESTS.map(demands_of))


@given(st.lists(FILES, min_size=1, max_size=6), st.data(), NEEDS)
def test_whoever_is_chosen_can_and_nobody_is_refused_while_somebody_can(
    files: list[ModelFile], data: st.DataObject, demands: Demands
) -> None:
    default = data.draw(st.sampled_from(files))
    able = [file for file in files if not file.problem and not demands.lacking(file)]
    try:
        found = chosen(default, files, demands, best)
    except CapabilityMissing:
        assert not able
        return
    assert found in files
    if default.problem and demands.makes == "words":
        assert found is default
        return
    assert found in able
    assert found is default or not demands.suits(default), "the default keeps what it can do"
    fitting = [file for file in able if demands.suits(file) and best([file])]
    assert demands.suits(found) or not fitting


@given(st.lists(FILES, min_size=1, max_size=6), st.data(), NEEDS)
def test_a_named_model_is_refused_if_and_only_if_it_cannot(
    files: list[ModelFile], data: st.DataObject, demands: Demands
) -> None:
    asked = data.draw(st.sampled_from(files))
    try:
        check(asked, files, demands)
    except CapabilityMissing as refused:
        assert not asked.problem
        assert demands.lacking(asked)
        named = [file for file in files if file.name in str(refused) and file is not asked]
        assert all(not demands.lacking(file) for file in named)
    else:
        assert asked.problem or not demands.lacking(asked)
