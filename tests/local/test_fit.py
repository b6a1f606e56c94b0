"""A model runs as wished if it fits, with less of what is cheap if not, and else is refused with the numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.config import Engine
from edged.errors import ModelTooLarge
from edged.gguf.build import Build
from edged.gguf.header import Gguf
from edged.gguf.tensors import Tensors
from edged.load_wire import Taken
from edged.local.fit import Ease, Fit, Machine, ease, fit, least, wished
from edged.local.needs import Learned, Way, learn, needs_of
from edged.store import ModelFile

GIB, MIB = 2**30, 2**20
# The shape of Qwen2.5-1.5B (benchmarks/shapes.py) in 4 bits, but trained with a million tokens.
HEADER = Gguf(
    "words",
    "qwen2",
    {"qwen2.context_length": 2**20},
    vocabulary_tokens=151_936,
    tensors=Tensors(
        count=338, size_bytes=886 * MIB, embedding=(1536, 151_936), embedding_type="q6_K", embedding_bytes=182 * MIB
    ),
    build=Build(
        layers=28, width=1536, feed_forward=8960, token_values=28 * 2 * 2 * 128, head_values=128, merges=151_387
    ),
)
LARGE = ModelFile("large", Path("/large.gguf"), 890 * MIB, 1, "words", HEADER)
SMALL = ModelFile(
    "small",
    Path("/small.gguf"),
    90 * MIB,
    1,
    "words",
    replace(
        HEADER, tensors=replace(HEADER.tensors, size_bytes=86 * MIB), build=replace(HEADER.build, token_values=500)
    ),
)
PLAIN = Machine()


def found(room_bytes: int, engine: Engine | None = None, **more: object) -> Fit:
    return fit(LARGE, engine or Engine(), room_bytes, PLAIN, **more)  # type: ignore[arg-type]


def test_what_fits_runs_as_wished() -> None:
    result = found(8 * GIB)

    assert result.way == Way(8192, 8)
    assert (result.lowered, result.draft_problem) == ("", "")


def test_the_cheap_goes_first_and_only_as_much_as_must() -> None:
    everything = found(8 * GIB, drafter=SMALL).needs.total_bytes
    one_less = wished(LARGE, Engine(), PLAIN).total_bytes

    assert found(everything, drafter=SMALL).way.drafts
    undrafted = found(everything - 1, drafter=SMALL)
    assert undrafted.way == Way(8192, 8)
    assert "large and small together need" in undrafted.draft_problem
    assert undrafted.lowered == ""
    halved = found(one_less - 1)
    assert halved.way == Way(8192, 8, "q8_0")
    assert halved.lowered.startswith("kv_type q8_0 in place of f16: ")
    rooms = [room * MIB for room in range(2500, 1000, -5) if ease(LARGE, Engine(), room * MIB, PLAIN)]
    ways = [found(room_bytes).way for room_bytes in rooms]
    assert [way.context_tokens for way in ways] == sorted((way.context_tokens for way in ways), reverse=True)
    assert {way.context_tokens for way in ways} == {8192, 4096, 2048}
    assert {way.sequences for way in ways} <= {8, 4, 2, 1}


def test_a_second_copy_is_given_up_before_anything_that_people_notice() -> None:
    pi = Machine(frozenset({"asimddp"}))
    needs = wished(LARGE, Engine(), pi)

    assert needs.repack_bytes == 182 * MIB
    mapped = fit(LARGE, Engine(), needs.total_bytes - 1, pi)
    assert mapped.way == replace(Way(8192, 8), maps_file=True)
    assert "weights used as they are in the file" in mapped.lowered


@given(st.integers(0, 4 * GIB), st.integers(0, GIB))
def test_what_is_chosen_fits_and_more_room_never_gives_less(room_bytes: int, more_bytes: int) -> None:
    if ease(LARGE, Engine(), room_bytes, PLAIN) is Ease.NOT_AT_ALL:
        with pytest.raises(ModelTooLarge) as refused:
            found(room_bytes, snapshot_bytes=256 * MIB)
        assert refused.value.available_bytes == room_bytes < refused.value.needed_bytes
        return
    result = found(room_bytes, snapshot_bytes=256 * MIB)
    assert result.needs.total_bytes + result.snapshot_bytes <= room_bytes
    richer = found(room_bytes + more_bytes, snapshot_bytes=256 * MIB).way
    assert richer.context_tokens >= result.way.context_tokens


def test_what_the_owner_set_is_not_lowered_and_told_what_would_fit() -> None:
    engine = Engine(context_tokens=2**20)
    began_s = perf_counter()
    with pytest.raises(ModelTooLarge) as refused:
        found(4 * GIB, engine)

    assert perf_counter() - began_s < 0.5
    assert refused.value.needed_bytes > 17 * GIB
    assert refused.value.available_bytes == 4 * GIB
    assert "needs 17." in str(refused.value)
    assert "with a context of 1,048,576 tokens (weights 0.87, conversations" in str(refused.value)
    assert "[engine] context_tokens = " in str(refused.value)
    said = int(str(refused.value).partition("context_tokens = ")[2].partition(" ")[0])
    assert found(4 * GIB, Engine(context_tokens=said)).way.context_tokens == said


def test_more_weights_than_memory_are_refused_with_the_smaller_model_that_would_fit() -> None:
    with pytest.raises(ModelTooLarge, match=r"needs 1\.\d+ GiB .* 0\.54 GiB are available\. Of the .* small would fit"):
        found(550 * MIB, installed=(LARGE, SMALL))


def test_conversations_outside_of_the_context_get_half_of_what_is_left() -> None:
    needs = found(8 * GIB).needs

    assert found(needs.total_bytes + 10, snapshot_bytes=MIB).snapshot_bytes == 5
    assert found(8 * GIB, snapshot_bytes=MIB).snapshot_bytes == MIB


def test_how_well_a_model_fits_is_said_in_three_degrees() -> None:
    needs = wished(LARGE, Engine(), PLAIN).total_bytes

    degrees = [ease(LARGE, Engine(), room, PLAIN) for room in (needs, needs - 1, 100 * MIB)]
    assert degrees == [Ease.AS_WISHED, Ease.LOWERED, Ease.NOT_AT_ALL]


@pytest.mark.parametrize("engine", [Engine(), Engine(context_tokens=4096), Engine(kv_type="f16", sequences=4)])
def test_the_least_that_a_model_needs_is_where_it_begins_to_fit(engine: Engine) -> None:
    needs = least(LARGE, engine, PLAIN).total_bytes

    assert ease(LARGE, engine, needs, PLAIN) is not Ease.NOT_AT_ALL
    assert ease(LARGE, engine, needs - 1, PLAIN) is Ease.NOT_AT_ALL


def test_a_context_is_never_longer_than_what_the_model_was_trained_with() -> None:
    short = replace(HEADER, entries={"qwen2.context_length": 1024})

    assert needs_of(short, 0, Way(8192, 8)).cells_bytes == needs_of(short, 0, Way(1024, 8)).cells_bytes


def test_what_a_load_took_is_what_the_next_one_is_forecast_to_take() -> None:
    way, size_bytes = Way(4096, 8), LARGE.size_bytes
    taken = Taken(900 * MIB, 200 * MIB, 300 * MIB, 50 * MIB)
    learned = learn(HEADER, size_bytes, way, (), taken)
    needs, before = needs_of(HEADER, size_bytes, way, (), learned), needs_of(HEADER, size_bytes, way)

    assert needs.weights_bytes == pytest.approx(900 * MIB)
    assert needs.cells_bytes > 200 * MIB
    assert needs.compute_bytes > 300 * MIB
    twice = needs_of(HEADER, size_bytes, replace(way, context_tokens=8192), (), learned)
    assert twice.cells_bytes == pytest.approx(2 * needs.cells_bytes, rel=0.01)
    assert before.total_bytes != needs.total_bytes


def test_what_was_missing_is_needed_too() -> None:
    needs = wished(LARGE, Engine(), PLAIN, Learned(missing_bytes=GIB))

    assert needs.total_bytes == wished(LARGE, Engine(), PLAIN).total_bytes + GIB
