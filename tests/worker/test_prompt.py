"""Control tokens are found where llama.cpp finds them, and never in what a person typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.template_wire import Span
from edged.worker.model import Model
from edged.worker.prompt import Control, marks_of, split_at_controls, tokens_of

START, END = Control(1), Control(2, strips_left=True, strips_right=True)
CONTROLS = {"<s>": START, "<end>": END, "<s>>": Control(3)}


@dataclass
class Letters:
    """A tokenizer with one id per character, from 100 on, that records how it was asked."""

    bos: int | None = None
    controls: Mapping[str, Control] = field(default_factory=lambda: CONTROLS)
    asked: list[tuple[str, bool]] = field(default_factory=list)

    def tokenize(self, text: str, *, parse_special: bool) -> list[int]:
        self.asked.append((text, parse_special))
        return [100 + ord(character) for character in text]


def spans(*texts: str | tuple[str]) -> tuple[Span, ...]:
    """Strings are template text; a tuple of one string is what a person typed."""
    return tuple(Span(text) if isinstance(text, str) else Span(*text, literal=True) for text in texts)


@pytest.mark.parametrize(
    ("prompt", "pieces"),
    [
        (spans(), []),
        (spans("plain"), ["plain"]),
        (spans("<s>hi<s>"), [START, "hi", START]),
        (spans("a<s>>b"), ["a", Control(3), "b"]),
        (spans("<", "s", ">"), [START]),
        (spans("a", ("<s>",), "b"), ["a<s>b"]),
        (spans(("<s",), ">b"), ["<s>b"]),
        (spans("a<s", (">",)), ["a<s>"]),
        (spans("<s>", (">",)), [START, ">"]),
        (spans("<s><s>"), [START, START]),
        (spans("a  <end>\n b"), ["a", END, "b"]),
        (spans(" <end> <end> "), [END, END]),
        (spans("a <s> b"), ["a ", START, " b"]),
        (spans("<s<s>"), ["<s", START]),
    ],
)
def test_pieces(prompt: tuple[Span, ...], pieces: list[str | Control]) -> None:
    assert split_at_controls(prompt, CONTROLS) == pieces


@given(st.lists(st.tuples(st.sampled_from(["<s>", "<end>", "<", "s>", " ", "x"]), st.booleans()), max_size=12))
def test_no_control_token_touches_literal_text(parts: list[tuple[str, bool]]) -> None:
    everything_is_typed = tuple(Span(text, literal=True) for text, _ in parts)
    assert not [piece for piece in split_at_controls(everything_is_typed, CONTROLS) if isinstance(piece, Control)]

    mixed = tuple(Span(text, literal) for text, literal in parts)
    hidden = "".join("?" * len(text) if literal else text for text, literal in parts)
    found = [piece for piece in split_at_controls(mixed, CONTROLS) if isinstance(piece, Control)]
    assert found == [piece for piece in split_at_controls((Span(hidden),), CONTROLS) if isinstance(piece, Control)]


def plainly_split(prompt: tuple[Span, ...]) -> list[str]:
    """What `split_at_controls` shall find, one place and one candidate at a time."""
    text = "".join(span.text for span in prompt)
    literal = [span.literal for span in prompt for _ in span.text]
    found, at = [], 0
    while at < len(text):
        lengths = [len(one) for one in CONTROLS if text.startswith(one, at) and not any(literal[at : at + len(one)])]
        found += [text[at : at + max(lengths)]] if lengths else []
        at += max(lengths, default=1)
    return found


@given(st.lists(st.tuples(st.sampled_from(["<s>", "<s>>", "<end>", "<", "s", ">", "<e"]), st.booleans()), max_size=12))
def test_the_longest_that_is_free_of_literal_text_is_found_at_each_place(parts: list[tuple[str, bool]]) -> None:
    prompt = tuple(Span(text, literal) for text, literal in parts)
    texts = {control: text for text, control in CONTROLS.items()}

    pieces = split_at_controls(prompt, CONTROLS)

    assert [texts[piece] for piece in pieces if isinstance(piece, Control)] == plainly_split(prompt)


def test_without_literal_text_the_whole_goes_through_in_one_call() -> None:
    letters = Letters()

    assert tokens_of(spans("<s>a", "b"), letters) == [100 + ord(character) for character in "<s>ab"]
    assert letters.asked == [("<s>ab", True)]


def test_with_literal_text_no_call_looks_for_control_tokens() -> None:
    letters = Letters()

    assert tokens_of(spans("<s>a", ("<s>",)), letters)[0] == START.id
    assert letters.asked == [("a<s>", False)]


@pytest.mark.parametrize(("bos", "first"), [(None, []), (1, [1]), (7, [7, 1])])
def test_the_begin_token_stands_in_front_once(bos: int | None, first: list[int]) -> None:
    ids = tokens_of(spans("<s>", ("x",)), Letters(bos))

    assert ids == (first or [1]) + [100 + ord("x")]


def test_an_empty_prompt_is_the_begin_token() -> None:
    assert tokens_of((), Letters(7)) == [7]
    assert tokens_of((), Letters()) == []


VOCABULARIES = ["phi-3", "qwen2", "llama-spm", "llama-bpe", "gpt-2", "falcon", "deepseek-llm", "baichuan", "starcoder"]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_our_partition_is_llama_cpps(name: str, vocabulary_of: Callable[[str], Model]) -> None:
    llama = vocabulary_of(name)
    pieces = [*sorted(llama.controls)[:12], " ", "  ", "\n", "word", " the", "<", "|>", "你好", "🙂", "a1"]

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.sampled_from(pieces), max_size=10).map("".join))
    def agrees(text: str) -> None:
        ours = tokens_of([Span(text), Span("", literal=True)], llama)
        theirs = llama.tokenize(text, parse_special=True)
        assert ours == (theirs if llama.bos is None or theirs[:1] == [llama.bos] else [llama.bos, *theirs])

    agrees()


@pytest.mark.parametrize("name", VOCABULARIES)
def test_typed_control_tokens_are_plain_text(name: str, vocabulary_of: Callable[[str], Model]) -> None:
    llama = vocabulary_of(name)
    ids = {control.id for control in llama.controls.values()}

    for text in sorted(llama.controls):
        typed = tokens_of([Span("say "), Span(text, literal=True), Span(" twice")], llama)
        assert not ids & set(typed[0 if llama.bos is None else 1 :]), text
        said = b"".join(map(llama.piece, typed)).decode()
        assert said.strip() == f"say {text} twice", "the text itself must arrive"


@pytest.mark.parametrize(
    ("tokens", "mark"),
    [
        ([1, 5, 5, 2, 5], (3,)),  # the last control token opens the answer
        ([1, 5, 5, 5, 5], (4,)),  # the begin token opens nothing
        ([1, *[5] * 40], (40,)),
        ([2, *[5] * 40], (40,)),  # too far away to be an opening
        ([5], ()),
    ],
)
def test_the_next_turn_parts_where_the_answer_is_opened(tokens: list[int], mark: tuple[int, ...]) -> None:
    assert marks_of(tokens, {1, 2}) == mark
