"""What a file says of its languages, its licence and the gaps that it fills: told as it is, in bounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import engine
from edged.chat import About
from edged.gguf.about import about
from edged.gguf.header import Gguf, inspect
from edged.worker.model import Model
from tests.gguf_draft import I32, STRING, TOKENS, TYPES, U32, WIDTH, Draft, many, one

_FIM = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")


def inspected(folder: Path, draft: Draft) -> Gguf:
    (folder / "m.gguf").write_bytes(draft.written())
    return inspect(folder / "m.gguf")


def saying(**entries: bytes) -> Draft:
    draft = Draft()
    draft.entries |= {f"general.{key.replace('__', '.')}": value for key, value in entries.items()}
    return draft


def test_where_it_comes_from_and_what_it_speaks(tmp_path: Path) -> None:
    draft = saying(
        license=one(STRING, "apache-2.0"),
        size_label=one(STRING, "1.7B"),
        file_type=one(U32, 15),
        base_model__count=one(U32, 2),
        base_model__0__name=one(STRING, "Qwen3 1.7B Base"),
        base_model__1__repo_url=one(STRING, "https://example.com/b"),
        languages=many(STRING, ["en", "de", "en", "zh"]),
    )
    found = inspected(tmp_path, draft)

    assert about(found) == About(
        architecture="llama",
        parameters=found.tensors.elements,
        size_label="1.7B",
        quantization="Q4_K_M",
        license="apache-2.0",
        base_models=("Qwen3 1.7B Base", "https://example.com/b"),
        languages=("en", "de", "zh"),
    )


def test_a_licence_with_a_name_of_its_own_is_called_by_it(tmp_path: Path) -> None:
    draft = saying(license=one(STRING, "other"), license__name=one(STRING, "gemma"))

    assert about(inspected(tmp_path, draft)).license == "gemma"


def test_what_a_file_says_tells_a_terminal_nothing(tmp_path: Path) -> None:
    odd = one(STRING, "mit\x1b[2J\n" + "x" * 200)
    found = about(inspected(tmp_path, saying(license=odd, size_label=odd, base_model__0__name=odd)))

    for said in (found.license, found.size_label, *found.base_models):
        assert said.startswith("mit [2J x")
        assert said.isprintable()
        assert len(said) == 200


def test_nothing_is_made_up(tmp_path: Path) -> None:
    found = inspected(tmp_path, Draft())

    assert about(found) == About(architecture="llama", parameters=found.tensors.elements)
    assert about(None) == About()


@pytest.mark.parametrize(
    ("value", "languages"),
    [
        (one(STRING, "en"), ()),
        (many(U32, [1, 2]), ()),
        (many(STRING, []), ()),
        (many(STRING, ["en", "", "x" * 33, b"\xff", "a\nb", "zh-Hant"]), ("en", "�", "zh-Hant")),
        (many(STRING, ["en"] * 257), ()),
        (many(STRING, [f"{number}" for number in range(256)]), tuple(f"{number}" for number in range(256))),
    ],
)
def test_odd_languages_are_left_out_and_cost_nothing(tmp_path: Path, value: bytes, languages: tuple[str, ...]) -> None:
    found = inspected(tmp_path, saying(languages=value))

    assert found.problem == ""
    assert found.languages == languages


def _speaking(tokens: Sequence[str]) -> Draft:
    draft = Draft()
    draft.tensor("token_embd.weight").shape = (WIDTH, len(tokens))
    draft.tensor("token_embd.weight").size_bytes = 4 * WIDTH * len(tokens)
    draft.entries["tokenizer.ggml.tokens"] = many(STRING, tokens)
    draft.entries["tokenizer.ggml.scores"] = many(6, [0.0] * len(tokens))
    draft.entries["tokenizer.ggml.token_type"] = many(I32, [*TYPES, *[3] * (len(tokens) - len(TYPES))])
    return draft


@pytest.mark.parametrize(
    ("more", "named", "fills"),
    [
        (_FIM, (), True),
        (("<PRE>", "<|suffix|>", "<｜fim▁end｜>"), (), True),
        (_FIM[:2], (), False),
        (_FIM[:2], ("fim_mid_token_id",), True),
        (("a1", "a2", "a3"), ("prefix_token_id", "suffix_token_id", "middle_token_id"), True),
        ((), (), False),
    ],
)
def test_who_fills_gaps_has_a_token_for_each_place(
    tmp_path: Path, more: Sequence[str], named: Sequence[str], fills: bool
) -> None:
    draft = _speaking([*TOKENS, *more])
    ids = range(len(TOKENS), len(TOKENS) + 3) if len(more) == 3 else [1]
    draft.entries |= {f"tokenizer.ggml.{key}": one(U32, id) for key, id in zip(named, ids, strict=False)}
    found = inspected(tmp_path, draft)

    assert found.fills_gaps is fills
    assert (Model(str(tmp_path / "m.gguf"), vocab_only=True).infill is not None) is fills, "as the engine sees it"


def test_whoever_fills_gaps_among_llama_cpps_vocabularies_is_recognised() -> None:
    try:
        files = sorted((engine.source() / "vendor/llama.cpp/models").glob("ggml-vocab-*.gguf"))
    except OSError:
        files = []
    if not files:
        pytest.skip("the engine's source package is not here")
    told = {file.name: inspect(file).fills_gaps for file in files}

    assert told == {file.name: Model(str(file), vocab_only=True).infill is not None for file in files}
    assert {True, False} == set(told.values())
