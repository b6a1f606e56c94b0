"""What is taken over, put aside and brought back is bit for bit what was computed, on every kind of memory.

The networks are tiny and random, one per kind: all tokens in cells, a sliding window, a recurrent state. The cells have
8 bits, for which this is promised.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import synthetic
from edged.sampling import Sampling
from edged.worker.batcher import Batcher
from edged.worker.bindings import lib
from edged.worker.context import Context
from edged.worker.engine import Row
from edged.worker.job import Job
from edged.worker.model import Model
from edged.worker.sampler import ChainSampler
from edged.worker.sequence import Sequence, StopFilter
from edged.worker.stored import StoredPrefixes
from tests.worker.files import a_file, a_file_of, content_of

IDENTITY = b"i" * 32
TOKENS = [200 + 37 * n % 5000 for n in range(120)]
BUDGET_BYTES = 2**20
ANSWER_TOKENS = 12


@pytest.fixture(scope="module", params=["tiny", "tiny-window", "tiny-hybrid"])
def context(request: pytest.FixtureRequest, engine_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    file = synthetic.build(request.param, "Q8_0", tmp_path_factory.mktemp("models"))
    return Context(Model(str(file)), context_tokens=512, sequences=3, threads=1, kv_type="q8_0")


@pytest.fixture(autouse=True)
def empty(context: Context) -> None:
    for slot in range(context.slots):
        context.release(slot)


def read(context: Context, slot: int, first: int, end: int) -> bytes:
    """Put TOKENS[first:end] into a slot; the output behind the last, bit for bit."""
    for start in range(first, end, 16):
        stop = min(end, start + 16)
        context.decode([Row(TOKENS[n], n, slot, n == end - 1) for n in range(start, stop)])
    row = lib.llama_get_logits_ith(context._context, stop - start - 1)
    return ctypes.string_at(row, 4 * context.model.vocabulary_tokens)


def test_an_end_that_is_shared_goes_on_in_both_directions(context: Context) -> None:
    whole = read(context, 0, 0, 120)
    read(context, 1, 0, 80)
    context.copy(1, 2, 80)

    assert read(context, 2, 80, 120) == whole
    assert read(context, 1, 80, 120) == whole


def test_a_beginning_is_taken_over_where_it_can_be_cut_or_was_noted(context: Context) -> None:
    whole = read(context, 0, 0, 80)
    noted = context.checkpoint(0)
    whole = read(context, 0, 80, 120)
    context.copy(0, 1, 80)
    if not context.is_cuttable:
        context.resume(1, noted)

    assert read(context, 1, 80, 120) == whole


def test_a_state_that_is_copied_out_and_in_is_the_same_wherever_its_cells_lie(context: Context) -> None:
    whole = read(context, 0, 0, 120)
    context.release(0)
    read(context, 0, 0, 80)
    state = context.save(0)
    context.release(0)
    read(context, 2, 0, 33)

    assert context.save_bytes(2) < len(state)
    assert context.load(1, state)
    assert read(context, 1, 80, 120) == whole


def test_a_spoilt_state_is_refused_and_leaves_the_slot_empty(context: Context) -> None:
    whole = read(context, 0, 0, 40)
    state = context.save(0)
    context.release(0)

    assert not context.load(0, state[: len(state) // 2])
    assert read(context, 0, 0, 40) == whole


def answers(batcher: Batcher, context: Context, asked: list[list[int]]) -> tuple[list[str], int]:
    """What is said to prompts asked at once, and how many prompt tokens were read for that."""
    texts, prompt_tokens = dict.fromkeys(range(len(asked)), ""), 0
    for id, tokens in enumerate(asked):
        sequence = Sequence(id, list(tokens), len(tokens), ANSWER_TOKENS, StopFilter(()), marks=(len(tokens) - 1,))
        batcher.submit(Job(sequence, ChainSampler(context, Sampling(temperature=0.0), tokens)))
    for _ in range(2000):
        if batcher.is_idle:
            break
        outputs, read_now = batcher.step(16)
        prompt_tokens += read_now
        for output in outputs:
            texts[output.id] += output.text
    assert batcher.is_idle, "the batcher got stuck"
    return list(texts.values()), prompt_tokens


def alone(context: Context, prompt: list[int]) -> str:
    return answers(Batcher(context, context.model), context, [prompt])[0][0]


def test_a_second_turn_says_what_it_says_alone_and_reads_little(context: Context) -> None:
    first, second = TOKENS[:80], TOKENS[:120]
    expected = [alone(context, first), alone(context, second)]
    batcher = Batcher(context, context.model, snapshot_bytes=BUDGET_BYTES)

    one, _ = answers(batcher, context, [first])
    two, read_tokens = answers(batcher, context, [second])

    assert [*one, *two] == expected
    assert read_tokens <= 41


def test_a_conversation_that_was_put_aside_comes_back_and_reads_little(context: Context) -> None:
    first, second = TOKENS[:80], TOKENS[:120]
    expected = alone(context, second)
    batcher = Batcher(context, context.model, snapshot_bytes=BUDGET_BYTES)
    answers(batcher, context, [first])
    for prefix in batcher.memory.cached:
        batcher.memory.evict(prefix)

    text, read_tokens = answers(batcher, context, [second])

    assert text == [expected]
    assert read_tokens <= 41


def test_a_third_who_begins_like_two_others_reads_only_the_rest(context: Context) -> None:
    system, tails = TOKENS[:60], ([7, 8, 9] * 5, [17, 18, 19] * 5, [27, 28, 29] * 5)
    expected = [alone(context, [*system, *tail]) for tail in tails]
    batcher = Batcher(context, context.model, snapshot_bytes=BUDGET_BYTES)

    came = [answers(batcher, context, [[*system, *tail]]) for tail in tails]

    assert [text for texts, _ in came for text in texts] == expected
    assert came[2][1] <= 15


def test_a_prompt_with_several_choices_is_read_once(context: Context) -> None:
    prompt = TOKENS[:90]
    expected = alone(context, prompt)
    batcher = Batcher(context, context.model, snapshot_bytes=BUDGET_BYTES)

    texts, read_tokens = answers(batcher, context, [prompt] * 3)

    assert texts == [expected] * 3
    assert read_tokens <= 90 + 2


def test_several_choices_behind_a_prompt_much_longer_than_a_window_all_end(context: Context) -> None:
    prompt = (TOKENS * 4)[:400]
    batcher = Batcher(context, context.model)

    texts, _ = answers(batcher, context, [prompt] * 3)

    assert texts == [alone(context, prompt)] * 3


def test_conversations_that_do_not_fit_together_say_what_they_say_alone(context: Context) -> None:
    asked = [[start, *TOKENS[:100]] for start in range(300, 312)]
    expected = [alone(context, prompt) for prompt in asked]
    batcher = Batcher(context, context.model, snapshot_bytes=BUDGET_BYTES)

    first, _ = answers(batcher, context, asked)
    again, read_tokens = answers(batcher, context, asked)

    assert first == again == expected
    assert read_tokens <= 2 * len(asked), "everything was in cells or states"


def on_disk(context: Context, batcher: Batcher) -> list[int]:
    """All that is in memory as files, the engine's memory empty as after a restart."""
    memory = batcher.memory
    files = []
    for known in memory.outside_of_files:
        snapshot = memory.copied_out(known, known.length)
        assert snapshot is not None
        files.append(a_file_of(snapshot, IDENTITY))
    for slot in range(context.slots):
        context.release(slot)
    return files


@contextmanager
def restarted(context: Context, files: list[int]) -> Iterator[Batcher]:
    """A worker that has just begun and is offered `files`, which are closed in the end."""
    stored = StoredPrefixes(IDENTITY, context.context_tokens)
    for id, descriptor in enumerate(files):
        stored.add(id, descriptor)
    yield Batcher(context, context.model, snapshot_bytes=BUDGET_BYTES, stored=stored)
    for one in list(stored):
        stored.forget(one.id)


def test_after_a_restart_a_conversation_says_what_it_says_alone_and_reads_little(context: Context) -> None:
    first, second = TOKENS[:80], TOKENS[:120]
    expected = alone(context, second)
    batcher = Batcher(context, context.model, snapshot_bytes=BUDGET_BYTES)
    answers(batcher, context, [first])

    with restarted(context, on_disk(context, batcher)) as again:
        text, read_tokens = answers(again, context, [second])

    assert text == [expected]
    assert read_tokens <= 41


def test_after_a_restart_a_beginning_that_two_had_helps_a_third(context: Context) -> None:
    system, tails = TOKENS[:90], ([7, 8, 9] * 5, [17, 18, 19] * 5, [27, 28, 29] * 5)
    expected = [alone(context, [*system, *tail]) for tail in tails]
    batcher = Batcher(context, context.model, snapshot_bytes=BUDGET_BYTES)
    for tail in tails[:2]:
        answers(batcher, context, [[*system, *tail]])

    with restarted(context, on_disk(context, batcher)) as again:
        text, read_tokens = answers(again, context, [[*system, *tails[2]]])

    assert text == [expected[2]]
    assert read_tokens <= 15


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_happens_to_a_file_the_text_stays(context: Context, data: st.DataObject) -> None:
    """Bytes flipped, an end cut off, other content in place of it: as if there were no file, or as if it were whole."""
    batcher = Batcher(context, context.model, snapshot_bytes=BUDGET_BYTES)
    answers(batcher, context, [TOKENS[:80]])
    answers(batcher, context, [TOKENS[40:115]])
    files = on_disk(context, batcher)
    contents = [content_of(descriptor) for descriptor in files]
    for descriptor in files:
        os.close(descriptor)
    expected = [alone(context, TOKENS[:120]), alone(context, TOKENS[40:120])]

    damage = data.draw(st.sampled_from(["flip", "cut", "swap", "mix"]))
    at = data.draw(st.integers(0, len(contents[0]) - 1))
    if damage == "flip":
        flipped = bytearray(contents[0])
        flipped[at] ^= data.draw(st.integers(1, 255))
        contents[0] = bytes(flipped)
    elif damage == "cut":
        contents[0] = contents[0][:at]
    elif damage == "swap":
        contents.reverse()
    else:
        contents[0] = contents[0][:at] + contents[1][at:]
    with restarted(context, [a_file(content) for content in contents]) as again:
        text, _ = answers(again, context, [TOKENS[:120], TOKENS[40:120]])

    assert text == expected
