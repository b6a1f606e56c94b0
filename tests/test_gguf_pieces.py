"""A model in several files is all of them, each once and in its place, or it is none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from edged.gguf.header import Gguf, inspect
from edged.gguf.pieces import inspect_pieces
from edged.gguf.reading import GgufInvalid
from tests.gguf_draft import I32, U16, U32, Draft, one, pieces, straight


def inspected(folder: Path, files: Sequence[bytes]) -> Gguf:
    with ExitStack() as opened:
        descriptors = []
        for number, content in enumerate(files):
            (folder / str(number)).write_bytes(content)
            descriptors.append(opened.enter_context((folder / str(number)).open("rb")).fileno())
        return inspect_pieces(descriptors)


def written(drafts: Sequence[Draft]) -> list[bytes]:
    return [draft.written() for draft in drafts]


@pytest.mark.parametrize("count", [1, 2, 3, 11])
def test_pieces_together_are_what_the_whole_is(count: int, tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(straight())
    whole, found = inspect(tmp_path / "whole"), inspected(tmp_path, written(pieces(count)))

    assert (found.made_for, found.architecture, found.problem, found.vocabulary_tokens) == ("words", "llama", "", 267)
    for fact in ("count", "elements", "size_bytes", "types", "embedding", "has_attention", "has_router"):
        assert getattr(found.tensors, fact) == getattr(whole.tensors, fact), fact


def test_the_first_may_have_no_tensors(tmp_path: Path) -> None:
    """As `gguf-split --no-tensor-first-split` writes it."""
    first, second = pieces(2)
    second.tensors, first.tensors = first.tensors + second.tensors, []

    assert inspected(tmp_path, written([first, second])).problem == ""


def test_a_piece_alone_is_a_part(tmp_path: Path) -> None:
    for draft in pieces(2):
        assert inspected(tmp_path, [draft.written()]).made_for == "part"


def swapped(drafts: list[Draft]) -> None:
    drafts.reverse()


def one_twice(drafts: list[Draft]) -> None:
    drafts[2] = drafts[1]


def one_missing(drafts: list[Draft]) -> None:
    del drafts[2]


def last_missing_and_count_bent(drafts: list[Draft]) -> None:
    del drafts[2]
    for draft in drafts:
        draft.entries["split.count"] = one(U16, 2)


def countless(drafts: list[Draft]) -> None:
    drafts[0].entries["split.count"] = one(U16, 65535)


def another_count_behind(drafts: list[Draft]) -> None:
    drafts[1].entries["split.count"] = one(U16, 65535)


def unnumbered(drafts: list[Draft]) -> None:
    del drafts[1].entries["split.no"]


def numbered_otherwise(drafts: list[Draft]) -> None:
    drafts[1].entries["split.no"] = one(U32, 1)


def tensor_twice(drafts: list[Draft]) -> None:
    drafts[2].tensors = [*drafts[2].tensors, drafts[0].tensors[0]]
    drafts[0].entries["split.tensors.count"] = one(I32, 12)


def tensors_missing(drafts: list[Draft]) -> None:
    del drafts[2].tensors[-1]


def uncounted(drafts: list[Draft]) -> None:
    del drafts[0].entries["split.tensors.count"]


def counted_as_something_else(drafts: list[Draft]) -> None:
    drafts[0].entries["split.tensors.count"] = one(U32, 11)


def a_layer_too_many(drafts: list[Draft]) -> None:
    drafts[0].entries["llama.block_count"] = one(U32, 513)


def a_whole_model_behind(drafts: list[Draft]) -> None:
    drafts[1] = Draft()


@pytest.mark.parametrize(
    ("bend", "mentions"),
    [
        (swapped, "piece 1 of 3: it says that it is piece 3"),
        (one_twice, "piece 3 of 3: it says that it is piece 2"),
        (one_missing, "piece 1 of 2: it says that there are 3"),
        (last_missing_and_count_bent, "split.tensors.count is 11, and the pieces have 8"),
        (countless, "it says that there are 65535"),
        (another_count_behind, "piece 2 of 3: it says that there are 65535"),
        (unnumbered, "piece 2 of 3: it does not say which piece"),
        (numbered_otherwise, "split.no is of kind u32"),
        (tensor_twice, "is there twice"),
        (tensors_missing, "split.tensors.count is 11, and the pieces have 10"),
        (uncounted, "split.tensors.count is None"),
        (counted_as_something_else, "split.tensors.count is of kind u32"),
        (a_layer_too_many, "513"),
        (a_whole_model_behind, "piece 2 of 3: it does not say which piece"),
    ],
)
def test_pieces_that_are_not_one_model_are_refused(bend: object, mentions: str, tmp_path: Path) -> None:
    drafts = pieces(3)
    assert callable(bend)
    bend(drafts)

    with pytest.raises(GgufInvalid) as refusal:
        inspected(tmp_path, written(drafts))
    assert mentions in str(refusal.value)


def test_a_piece_that_is_cut_off_is_named(tmp_path: Path) -> None:
    files = written(pieces(3))
    files[1] = files[1][:-100]

    with pytest.raises(GgufInvalid, match=r"piece 2 of 3: .* is cut off"):
        inspected(tmp_path, files)


def test_a_piece_that_is_no_file_is_refused(tmp_path: Path) -> None:
    first, _ = written(pieces(2))
    (tmp_path / "first").write_bytes(first)
    read, write = os.pipe()
    refused = pytest.raises(GgufInvalid, match="piece 2 of 2: it is no regular file")
    with (tmp_path / "first").open("rb") as file, refused:
        inspect_pieces([file.fileno(), read])
    os.close(read)
    os.close(write)
