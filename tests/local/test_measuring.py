"""Vectors and scores through a real worker: beside a stream, cancelled, refused, and lost with the process."""

from __future__ import annotations

import asyncio
import base64
import math
import os
import signal
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from benchmarks import synthetic
from edged.chat import ChatRequest, EmbedRequest, RerankRequest
from edged.completion import Delta
from edged.config import Engine, Limits
from edged.errors import (
    CapabilityMissing,
    InputTooLong,
    InvalidRequest,
    UnsupportedParameter,
    WorkerCrashed,
    WorkerStarved,
)
from edged.framing import WireError
from edged.local.backend import Local
from edged.local.measuring import MeasureRefused, Measuring, floats_of, shortened
from edged.local.pool import Pool
from edged.local.process import WorkerProcess
from edged.sampling import Sampling
from edged.store import Store
from edged.template_wire import Span
from edged.wire import Embed, Embedded, Load, Rank, Rejected, Scored, Starved

PROMPT = (Span("<|user|>\nWhich way to the harbour?<|end|>\n<|assistant|>\n"),)
TEXTS = [Embed(0, f"The valve number {n} closes first.") for n in range(64)]
ASKED = ChatRequest("id", sampling=Sampling(temperature=0.0))
CONTEXT_TOKENS = 512


@pytest.fixture(scope="session")
def bert_file(nano_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder; `nano_file` skips where none can be built."""
    return synthetic.build("tiny-bert", "Q8_0", tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def reranker_file(nano_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reranker."""
    return synthetic.build("tiny-reranker", "Q8_0", tmp_path_factory.mktemp("reranker"))


@asynccontextmanager
async def worker(file: Path) -> AsyncIterator[WorkerProcess]:
    process = WorkerProcess("model", lambda error: None)
    descriptor = os.open(file, os.O_RDONLY)
    try:
        await process.load(Load("model", CONTEXT_TOKENS, 4, 1, 0, kv_type="q8_0"), [descriptor])
        yield process
    finally:
        os.close(descriptor)
        await process.stop()


def vector(result: Embedded | Scored) -> list[float]:
    assert isinstance(result, Embedded)
    return list(array("f", floats_of(result)))


async def said(process: WorkerProcess, tokens: int, begun: asyncio.Event | None = None) -> str:
    """What the model answers greedily; `begun` is set at its first word."""
    text = ""
    with process.answering(ASKED, PROMPT, tokens) as answers:
        await answers.admitted()
        async for event in answers.events():
            if begun is not None:
                begun.set()
            text += event.text if isinstance(event, Delta) else ""
    return text


async def test_texts_embedded_beside_a_stream_change_neither_its_words_nor_their_vectors(nano_file: Path) -> None:
    async with worker(nano_file) as process:
        alone = await said(process, 300)
        vectors_alone = [vector((await process.measure([text]))[0]) for text in TEXTS[:4]]

        begun = asyncio.Event()
        stream = asyncio.ensure_future(said(process, 300, begun))
        await begun.wait()
        found = await process.measure(TEXTS)

        assert await stream == alone
        assert [result.id for result in found] == sorted(result.id for result in found)
        for together, before in zip(found, vectors_alone, strict=False):
            assert vector(together) == pytest.approx(before, abs=1e-4)
        assert all(math.dist(vector(result), [0.0] * 32) == pytest.approx(1, abs=1e-5) for result in found)
        assert process._owed == {}


async def test_more_texts_than_are_sent_ahead_come_back_in_order(nano_file: Path) -> None:
    async with worker(nano_file) as process:
        found = await process.measure(TEXTS * 4)

        first = [vector(result) for result in found[: len(TEXTS)]]
        assert [vector(result) for result in found[-len(TEXTS) :]] == [pytest.approx(one, abs=1e-4) for one in first]


async def test_cancelling_stops_the_work(nano_file: Path) -> None:
    """The last text of the cancelled request would take the worker through hundreds of steps."""
    async with worker(nano_file) as process:
        measuring = asyncio.ensure_future(process.measure([Embed(0, "", (200,) * 500)] * 64))
        while process.work.prompt_tokens == 0:  # noqa: ASYNC110 - a step announces itself to nobody else
            await asyncio.sleep(0.001)
        measuring.cancel()
        await asyncio.wait([measuring])
        assert process._owed == {}

        await process.measure(TEXTS[:1])

        assert process.work.prompt_tokens < 500 * 64 / 2


async def test_a_text_that_is_too_long_is_named_and_nothing_is_owed(nano_file: Path) -> None:
    async with worker(nano_file) as process:
        with pytest.raises(MeasureRefused) as refused:
            await process.measure([TEXTS[0], Embed(0, "", (200,) * 600)])

        assert (refused.value.index, refused.value.prompt_tokens, refused.value.context_tokens) == (1, 600, 512)
        assert process._owed == {}
        assert len(await process.measure(TEXTS[:2])) == 2


async def test_a_worker_that_dies_fails_the_vectors_it_owes(nano_file: Path) -> None:
    async with worker(nano_file) as process:
        measuring = asyncio.ensure_future(process.measure([Embed(0, "", (200,) * 500)] * 64))
        while not process._owed:  # noqa: ASYNC110 - it is asked in the task's first breath
            await asyncio.sleep(0)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)

        with pytest.raises(WorkerCrashed, match="killed by SIGKILL while answering"):
            await measuring


async def test_an_encoder_makes_vectors_and_a_reranker_scores(bert_file: Path, reranker_file: Path) -> None:
    async with worker(bert_file) as process:
        assert process.card is not None
        assert (process.card.pooling, process.card.context_tokens, process.card.template) == ("cls", 512, "")
        assert len(vector((await process.measure(TEXTS))[5])) == process.card.vector_floats == 64
    async with worker(reranker_file) as process:
        pairs = [Rank(0, "Where?", "Here."), Rank(0, "Where?", "The valve closes first.")]
        one, other = await process.measure(pairs)
        assert isinstance(one, Scored)
        assert isinstance(other, Scored)
        assert one.score != other.score


@asynccontextmanager
async def local_with(tmp_path: Path, **files: Path) -> AsyncIterator[Local]:
    for name, file in files.items():
        (tmp_path / f"{name}.gguf").hardlink_to(file)
    store, limits = Store(tmp_path), Limits()
    engine = Engine(context_tokens=CONTEXT_TOKENS, sequences=2, threads=1, resident_models=3)
    async with Pool(store, engine, limits, lambda event, **facts: None) as pool:
        yield Local(pool, store, limits)


async def test_each_model_says_what_it_cannot_do(
    tmp_path: Path, nano_file: Path, bert_file: Path, reranker_file: Path
) -> None:
    async with local_with(tmp_path, words=nano_file, vectors=bert_file, scores=reranker_file) as local:
        with pytest.raises(CapabilityMissing, match=r"words is no reranker.*/v1/embeddings"):
            await local.rerank(RerankRequest("1", "q", ("d",), "words"))
        with pytest.raises(CapabilityMissing, match="vectors is no reranker"):
            await local.rerank(RerankRequest("1", "q", ("d",), "vectors"))
        with pytest.raises(CapabilityMissing, match=r"scores is a reranker.*/v1/rerank"):
            await local.embed(EmbedRequest("1", ("text",), "scores"))
        with pytest.raises(CapabilityMissing, match=r"vectors was made for vectors and writes no text"):
            await local.complete(ChatRequest("1", "vectors", raw_prompt="Once"))
        with pytest.raises(InvalidRequest, match="Input 1 holds the token id 30522, and the model vectors knows 30522"):
            await local.embed(EmbedRequest("1", ("text", (30_522,)), "vectors"))
        with pytest.raises(InputTooLong, match="Input 0 has 600 tokens, and this model reads at most 512") as refused:
            await local.embed(EmbedRequest("1", ((200,) * 600,), "vectors"))
        assert (refused.value.param, refused.value.prompt_tokens, refused.value.code) == (
            "input", 600, "context_length_exceeded",
        )  # fmt: skip
        with pytest.raises(InputTooLong, match="query together with document 1 has") as refused:
            await local.rerank(RerankRequest("1", "q", ("d", "word " * 600), "scores"))
        assert refused.value.param == "documents"


async def test_fewer_dimensions_are_the_beginning_of_the_vector_where_it_was_made_for_that(
    tmp_path: Path, nano_file: Path, bert_file: Path
) -> None:
    async with local_with(tmp_path, words=nano_file, vectors=bert_file) as local:
        (whole,) = (await local.embed(EmbedRequest("1", ("text",), "vectors"))).vectors
        (short,) = (await local.embed(EmbedRequest("1", ("text",), "vectors", dimensions=8))).vectors
        (same,) = (await local.embed(EmbedRequest("1", ("text",), "words", dimensions=32))).vectors

        assert short == shortened(whole, 8)
        assert len(same) == 32 * 4
        for model, dimensions in (("vectors", 65), ("words", 31)):
            with pytest.raises(
                UnsupportedParameter, match=f"dimensions is {dimensions}, and vectors of the model {model}"
            ):
                await local.embed(EmbedRequest("1", ("text",), model, dimensions=dimensions))


def test_a_shortened_vector_has_length_one() -> None:
    vector = array("f", (0.6, 0.0, 0.8)).tobytes()

    assert list(array("f", shortened(vector, 2))) == [1.0, 0.0]
    assert shortened(array("f", (0.0, 1.0)).tobytes(), 1) == array("f", (0.0,)).tobytes()


def encoded(*numbers: float) -> str:
    return base64.b64encode(array("f", numbers).tobytes()).decode()


@pytest.mark.parametrize("text", ["", "?", "AAA=", encoded(1.0, math.nan), encoded(math.inf)])
def test_what_is_no_vector_costs_the_worker_its_life(text: str) -> None:
    with pytest.raises(WireError, match="not a vector"):
        Measuring(range(1), [Embed(0, "text")]).put(Embedded(0, text, 1))


def test_a_score_for_a_text_costs_the_worker_its_life() -> None:
    with pytest.raises(WireError, match="Scored for somebody who awaits Embedded"):
        Measuring(range(1), [Embed(0, "text")]).put(Scored(0, 1.0, 1))


async def test_no_memory_is_a_503_that_says_so() -> None:
    measuring = Measuring(range(7, 9), [Embed(0, "one"), Embed(0, "two")])
    measuring.put(Starved(8))

    with pytest.raises(WorkerStarved, match="not enough memory"):
        await measuring.more()


async def test_the_place_of_a_refused_text_is_counted_from_the_first() -> None:
    measuring = Measuring(range(7, 9), [Embed(0, "one"), Embed(0, "two")])
    measuring.put(Rejected(8, 900, 512))

    with pytest.raises(MeasureRefused) as refused:
        await measuring.more()
    assert refused.value.index == 1
