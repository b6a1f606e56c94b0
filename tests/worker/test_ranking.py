"""Pairs are laid out as their model wants them, and a document cannot talk to its judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edged.worker.model import Model
from edged.worker.prompt import Control
from edged.worker.ranking import PairLayout, pair_tokens


class Letters:
    """A token per letter; `<e>` is a control token."""

    bos: int | None = None
    controls: Mapping[str, Control] = {"<e>": Control(7)}

    def tokenize(self, text: str, *, parse_special: bool) -> list[int]:
        """Code points."""
        assert not (parse_special and "<e>" in text), "somebody's words were read as control tokens"
        return list(map(ord, text))


def ids(text: str) -> list[int]:
    return list(map(ord, text))


def test_without_a_template_the_vocabularys_own_tokens_stand_around_both_texts() -> None:
    layout = PairLayout("", begin=1, end=2, separator=3)

    assert pair_tokens("q", "<e>", layout, Letters()) == [1, *ids("q"), 2, 3, *ids("<e>"), 2]


def test_what_a_vocabulary_does_not_have_is_left_out() -> None:
    assert pair_tokens("q", "d", PairLayout("", 1, None, 3), Letters()) == [1, *ids("q"), 3, *ids("d")]


def test_a_template_is_filled_and_its_control_tokens_are_the_only_ones() -> None:
    layout = PairLayout("Q {query}<e>D {document}", begin=1, end=2, separator=3)

    assert pair_tokens("{document}", "d<e>", layout, Letters()) == [*ids("Q {document}"), 7, *ids("D d<e>")]


def test_berts_pairs_are_those_of_llama_server(vocabulary_of: Callable[[str], Model]) -> None:
    """[CLS] query [SEP] document: this vocabulary adds no end token (tools/server/server-common.cpp)."""
    bert = vocabulary_of("bert-bge")
    query, document = (bert.tokenize(text, parse_special=False) for text in ("where", "here it is"))

    assert pair_tokens("where", "here it is", bert.pair_layout, bert) == [101, *query, 102, *document]
