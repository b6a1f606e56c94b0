"""A GBNF grammar in Lark means what it meant: llama.cpp's own reader is the judge."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.sampling import Constraint
from edged.worker.bindings import lib
from edged.worker.constraint import Grammars
from edged.worker.context import Context
from edged.worker.gbnf import NotGbnf, to_lark
from tests.worker.test_constraint import NOISE, Bench


def test_names_numbers_and_capitals() -> None:
    assert to_lark('root ::= "yes" | [0-9]+ item # or so\nitem ::= "(" root ")"').splitlines() == [
        "start: r0_root",
        'r0_root: "yes" | /[\\x{30}-\\x{39}]/+ r1_item',
        'r1_item: "(" r0_root ")"',
    ]


def test_what_never_comes_back_to_itself_is_one_terminal() -> None:
    assert "start: R0_root" not in to_lark('root ::= a\na ::= "x" | a')
    assert to_lark("root ::= a-b{2,3}\na-b ::= .?").splitlines() == [
        "start: R0_ROOT",
        "R0_ROOT: R1_A_B{2,3}",
        "R1_A_B: /(?s:.)/?",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no rule 'root'"),
        ("root", "line 1"),
        ("root ::=\n  a", "no rule 'a'"),
        ('root ::= "a"\nroot ::= "b"', "twice"),
        ('root ::= "a', "line 1"),
        ('root ::= "\\q"', r"\\q"),
        ("root ::= [z-a]", "backwards"),
        ("root ::= []", "empty"),
        ('root ::= "\\U00110000"', "no character"),
        ('root ::= "\\ud800"', "no character"),
        ("root ::= <think>", "not expected"),
        ("root ::= \0", "not expected"),
    ],
)
def test_what_is_no_grammar_is_refused_with_its_place(text: str, complaint: str) -> None:
    with pytest.raises(NotGbnf, match=complaint):
        to_lark(text)


@given(st.text('rot:=[]()"\\|*+?{}.,0123a-^#\n ', max_size=60))
def test_any_text_is_translated_or_refused(text: str) -> None:
    with suppress(NotGbnf):
        assert to_lark(text).startswith("start: ")


def accepts(context: Context, grammar: str, text: str) -> bool:
    """Whether llama.cpp, reading the grammar by itself, lets every token of `text` pass."""
    vocabulary = lib.llama_model_get_vocab(context.model.handle)
    sampler = lib.llama_sampler_init_grammar(vocabulary, grammar.encode(), b"root")
    assert sampler
    try:
        for token in context.model.tokenize("\n" + text, parse_special=False)[2:]:
            data = (lib.llama_token_data * 1)(lib.llama_token_data(token, 0.0, 0.0))
            candidates = lib.llama_token_data_array(data, 1, -1, False)
            lib.llama_sampler_apply(sampler, ctypes.byref(candidates))
            if data[0].logit == float("-inf"):
                return False
            lib.llama_sampler_accept(sampler, token)
    finally:
        lib.llama_sampler_free(sampler)
    return True


@pytest.mark.parametrize("name", ["json", "json_arr", "arithmetic", "list", "chess", "english"])
def test_what_is_said_inside_it_llama_cpp_would_let_pass(name: str, engine_models: Path, context: Context) -> None:
    grammar = (engine_models.parent / "grammars" / f"{name}.gbnf").read_text()
    bench = Bench(context, Grammars(context.model))
    for id in range(1, 4):
        bench.ask(id, Constraint("gbnf", grammar), sampling=NOISE.for_choice(id), most=40)
    bench.run()

    assert bench.failed == []
    for id in range(1, 4):
        assert bench.text(id)
        assert accepts(context, grammar, bench.text(id)), bench.text(id)


def test_the_judge_refuses_what_is_outside(engine_models: Path, context: Context) -> None:
    grammar = (engine_models.parent / "grammars" / "arithmetic.gbnf").read_text()

    assert accepts(context, grammar, "1+2=3\n")
    assert not accepts(context, grammar, "1+=3\n")
