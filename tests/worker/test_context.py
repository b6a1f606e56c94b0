"""llama.cpp's cells behind our verbs, on a tiny model with a real vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.sampling import Sampling
from edged.wire import Output
from edged.worker.batcher import Batcher
from edged.worker.context import Context
from edged.worker.drafts import Drafts
from edged.worker.engine import MemoryFull, Row
from edged.worker.job import Job
from edged.worker.model import Model
from edged.worker.sampler import ChainSampler
from edged.worker.sequence import Sequence, StopFilter
from tests.fakes import KnownDrafts

CONTEXT_TOKENS = 256  # as in conftest
GREEDY = Sampling(temperature=0.0)


def rows(tokens: list[int], *, first: int = 0, slot: int = 0) -> list[Row]:
    """`tokens` in a row; the last asks for an output."""
    return [Row(token, first + n, slot, n == len(tokens) - 1) for n, token in enumerate(tokens)]


def test_the_context_is_cut_to_what_the_model_was_trained_for(nano: Path) -> None:
    assert Context(Model(str(nano)), context_tokens=1_000_000, sequences=1, threads=1).context_tokens == 4096


def test_a_batch_that_finds_no_cells_leaves_the_memory_as_it_was(context: Context) -> None:
    tokens = context.model.tokenize("one two three four", parse_special=False)
    prompt = (tokens * CONTEXT_TOKENS)[: CONTEXT_TOKENS - 2]
    context.decode(rows(prompt))
    sampler = ChainSampler(context, GREEDY, [])

    with pytest.raises(MemoryFull):
        context.decode(rows(tokens[:3], slot=1))

    context.decode(rows(tokens[:1], first=len(prompt)))
    after = sampler.draw(0)
    context.release(0)
    context.decode(rows([*prompt, tokens[0]]))
    assert sampler.draw(len(prompt)) == after
    sampler.close()


def test_released_cells_can_be_used_again(context: Context) -> None:
    for slot in (0, 1, 2):
        context.decode(rows([5] * (CONTEXT_TOKENS - 1), slot=slot))
        context.release(slot)


def greedy(
    context: Context,
    prompts: list[str],
    *,
    seeds: list[int] | None = None,
    cached: list[int] | None = None,
    drafts: Drafts | None = None,
    tokens_of: dict[int, list[int]] | None = None,
) -> dict[int, str]:
    """The answers by prompt, begun with an empty memory; `cached` hears how many tokens each took over."""
    reused = [] if cached is None else cached
    batcher = Batcher(context, context.model, lambda sequence, count: reused.append(count), drafts=drafts)
    texts = dict.fromkeys(range(len(prompts)), "")
    for id, prompt in enumerate(prompts):
        tokens = context.model.tokenize(prompt, parse_special=False)
        wanted = GREEDY if seeds is None else Sampling(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=seeds[id])
        batcher.submit(
            Job(Sequence(id, tokens, len(tokens), 40, StopFilter(())), ChainSampler(context, wanted, tokens))
        )
        if tokens_of is not None:
            tokens_of[id] = tokens  # which grows
    while not batcher.is_idle:
        outputs: list[Output] = batcher.step(16)[0]
        for output in outputs:
            texts[output.id] += output.text
    return texts


def test_a_context_too_small_for_all_changes_no_words_of_the_real_engine(context: Context) -> None:
    prompts = ["Which way to the harbour?", "Good morning", "Is it far from here, and may I walk?", "No"]
    alone = [greedy(context, [prompt])[0] for prompt in prompts]

    assert len(set(alone)) == len(prompts)
    assert list(greedy(context, prompts).values()) == alone


def test_a_seed_fixes_the_words_and_another_changes_them(context: Context) -> None:
    first, second = (greedy(context, ["Well"], seeds=[seed])[0] for seed in (1, 2))

    assert greedy(context, ["Well"], seeds=[1])[0] == first != second


def test_taking_over_cached_cells_changes_no_words_of_the_real_engine(context: Context) -> None:
    system = "You are the harbour master. " * 3
    prompts = [system + words for words in ("Which way?", "Which way to the harbour?", "Good morning", "Which way?")]
    alone = [greedy(context, [prompt])[0] for prompt in prompts]
    shared: list[int] = []

    together = greedy(context, prompts, cached=shared)

    assert list(together.values()) == alone
    assert shared[0] == 0
    assert min(shared[1:]) > 3 * 5


@pytest.mark.parametrize("seeds", [None, [3, 4, 5, 6]], ids=["greedy", "drawn"])
def test_drafts_right_and_wrong_change_no_words_of_the_real_engine(context: Context, seeds: list[int] | None) -> None:
    prompts = ["Which way to the harbour?", "Good morning", "Is it far from here, and may I walk?", "No"]
    known: dict[int, list[int]] = {}
    plain = greedy(context, prompts, seeds=seeds, tokens_of=known)
    drafts = KnownDrafts(known)

    assert greedy(context, prompts, seeds=seeds, drafts=drafts) == plain
    assert drafts.drafted > 100


def test_the_output_of_a_drafted_token_is_bit_for_bit_what_it_is_alone(context: Context) -> None:
    tokens = context.model.tokenize("one two three four five six seven eight nine", parse_special=False)
    alone = []
    for position, token in enumerate(tokens):
        context.decode([Row(token, position, 0, has_output=True)])
        alone.append(context.logits(0).tobytes())
    context.release(0)
    context.decode(rows(tokens[:2]))
    for wrong in range(1, 6):  # a guess that is wrong further and further behind, and is taken back each time
        guessed = [*tokens[2 : 2 + wrong], 7, 8]
        context.decode([Row(token, 2 + at, 0, has_output=True) for at, token in enumerate(guessed)])
        assert [context.logits(at).tobytes() for at in range(wrong)] == alone[2 : 2 + wrong]
        context.cut(0, 2)


def test_the_number_of_threads_changes_between_steps_and_the_words_do_not(context: Context) -> None:
    tokens = context.model.tokenize("one two three four five", parse_special=False)
    drawn = []
    for threads in (1, 2, 1):
        context.use_threads(threads)
        context.decode(rows(tokens))
        sampler = ChainSampler(context, GREEDY, [])
        drawn.append(sampler.draw(len(tokens) - 1))
        sampler.close()
        context.release(0)

    assert len(set(drawn)) == 1
