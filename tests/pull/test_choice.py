"""Which files of a repository are meant: as llama.cpp and Ollama choose."""

from __future__ import annotations

import pytest

from edged.errors import ModelInvalid, ModelNotFound
from edged.pull.choice import Listed, choose, split_of, tag_of
from edged.store.names import is_name
from edged.store.records import MOST_PIECES


def chosen(paths: list[str], wanted: str = "") -> tuple[str, list[str]]:
    name, files = choose([Listed(path, 1, None) for path in paths], wanted, "hub/a/b")
    return name, [file.path for file in files]


@pytest.mark.parametrize(
    ("paths", "wanted", "name", "files"),
    [
        (["a-Q2_K.gguf", "a-Q4_K_M.gguf", "a-Q8_0.gguf"], "", "Q4_K_M", ["a-Q4_K_M.gguf"]),
        (["a-Q2_K.gguf", "a-Q8_0.gguf"], "", "Q8_0", ["a-Q8_0.gguf"]),
        (["a-Q2_K.gguf", "a-Q3_K_S.gguf"], "", "Q2_K", ["a-Q2_K.gguf"]),
        (["a.q4_k_m.gguf"], "", "Q4_K_M", ["a.q4_k_m.gguf"]),
        (["README.md", "model.gguf"], "", "model", ["model.gguf"]),
        (["a-Q4_K_M.gguf", "a-Q4_K_S.gguf"], "q4_k_s", "q4_k_s", ["a-Q4_K_S.gguf"]),
        (["a-Q4_K_M.gguf", "a-IQ4_K.gguf"], "Q4_K_M", "Q4_K_M", ["a-Q4_K_M.gguf"]),
        (["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"], "b-Q4_K_M", "b-Q4_K_M", ["b-Q4_K_M.gguf"]),
        (["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"], "b-Q4_K_M.gguf", "b-Q4_K_M.gguf", ["b-Q4_K_M.gguf"]),
        (["mmproj-a-Q4_K_M.gguf", "imatrix-Q4_K_M.gguf", "a-Q8_0.gguf"], "", "Q8_0", ["a-Q8_0.gguf"]),
        (["mtp-a-Q4_K_M.gguf", "a-Q4_K_M.gguf"], "", "Q4_K_M", ["a-Q4_K_M.gguf"]),
        (
            ["Q4_K_M/a-00002-of-00002.gguf", "Q4_K_M/a-00001-of-00002.gguf"],
            "Q4_K_M",
            "Q4_K_M",
            ["Q4_K_M/a-00001-of-00002.gguf", "Q4_K_M/a-00002-of-00002.gguf"],
        ),
    ],
)
def test_the_usual_or_the_wanted_one_is_chosen(paths: list[str], wanted: str, name: str, files: list[str]) -> None:
    assert chosen(paths, wanted) == (name, files)


def test_pieces_come_in_their_order() -> None:
    paths = [f"x/a-Q4_K_M-{number:05}-of-00003.gguf" for number in (3, 1, 2)]
    assert chosen(paths) == ("Q4_K_M", sorted(paths))


def test_a_missing_piece_is_told() -> None:
    with pytest.raises(ModelInvalid, match=r"only 2 of 3 pieces of a-Q8_0; a-Q8_0-00002-of-00003.gguf is missing"):
        chosen(["a-Q8_0-00001-of-00003.gguf", "a-Q8_0-00003-of-00003.gguf"])


def test_what_is_not_there_is_told_with_what_is() -> None:
    with pytest.raises(ModelNotFound, match=r"hub/a/b has no Q5_K_M; it has Q4_0, Q8_0\."):
        chosen(["a-Q8_0.gguf", "a-Q4_0.gguf"], "Q5_K_M")
    with pytest.raises(ModelNotFound, match=r"has no GGUF file\. Repositories with GGUF files usually end with -GGUF"):
        chosen(["model.safetensors"])


@pytest.mark.parametrize("path", ["a-00000-of-00002.gguf", "a-00003-of-00002.gguf", "a-00001-of-65535.gguf"])
def test_a_piece_that_cannot_be_is_refused(path: str) -> None:
    with pytest.raises(ModelInvalid, match="cannot be piece"):
        split_of(path)


def test_no_more_pieces_are_chosen_than_a_model_may_have() -> None:
    assert split_of(f"a-00001-of-{MOST_PIECES:05}.gguf").count == MOST_PIECES
    with pytest.raises(ModelInvalid, match=str(MOST_PIECES)):
        split_of(f"a-00001-of-{MOST_PIECES + 1:05}.gguf")


def test_a_file_in_a_folder_is_called_by_its_own_name() -> None:
    name, files = chosen(["low/a-Q4_K_M.gguf", "high/a-Q8_0.gguf"], "high/a-Q8_0.gguf")
    assert (name, files) == ("high/a-Q8_0.gguf", ["high/a-Q8_0.gguf"])
    assert is_name(f"hf.co/org/repo:{tag_of(name)}")


def test_a_name_that_would_speak_to_a_terminal_is_no_model() -> None:
    with pytest.raises(ModelNotFound) as refused:
        chosen(["a\x1b[2J-Q4_K_M.gguf"])
    assert str(refused.value).isprintable()
