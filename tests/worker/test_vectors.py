"""Vectors and scores are llama.cpp's own, however texts are batched and cut, and a chat's cells never feel it."""

from __future__ import annotations

import base64
import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from benchmarks import synthetic
from edged.wire import Embed, Embedded, Rank, Rejected, Scored, Starved
from edged.worker.bindings import lib
from edged.worker.embedding import Embedder, NoMemory, Portion
from edged.worker.model import Model
from edged.worker.ranking import pair_tokens
from edged.worker.vectors import VectorContext

TOLERANCE = 1e-4
SAME = 1e-6  # rounding to 32 bits; what is computed differs in no bit
CONTEXT_TOKENS = 2048
TEXTS = [
    "Which way to the harbour?",
    "No",
    "The valve on the left closes first; only then may the pump be started. " * 6,
    "你好，世界",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z " * 4,
]
CAUSAL = ["tiny", "tiny-last", "tiny-window", "tiny-hybrid"]
WHOLE = ["tiny-bert", "tiny-bert-mean"]
MEAN, AS_THE_FILE_SAYS = 1, -1  # LLAMA_POOLING_TYPE_* in llama.h


@pytest.fixture(scope="session")
def model_of(engine_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    """Loads a synthetic model by shape, and after a slash its quantisation, once."""

    @cache
    def load(name: str) -> Model:
        shape, _, quant = name.partition("/")
        return Model(str(synthetic.build(shape, quant or "Q8_0", tmp_path_factory.mktemp("models"))))

    return load


@pytest.fixture
def context_of(model_of: Callable[[str], Model]) -> Iterator[Callable[[str], VectorContext]]:
    """Contexts for vectors, closed with the test."""
    opened: list[VectorContext] = []

    def make(shape: str) -> VectorContext:
        opened.append(VectorContext(model_of(shape), context_tokens=CONTEXT_TOKENS, threads=1))
        return opened[-1]

    yield make
    for context in opened:
        context.close()


def reference(model: Model, tokens: Sequence[int], pooling: int) -> list[float]:
    """What llama.cpp itself pools for one text in a context of its own; for a reranker its scores."""
    params = lib.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = 1024
    params.n_threads = params.n_threads_batch = 1
    params.embeddings = True
    params.pooling_type = pooling
    context = lib.llama_init_from_model(model.handle, params)
    batch = lib.llama_batch_init(len(tokens), 0, 1)
    for index, token in enumerate(tokens):
        batch.token[index], batch.pos[index], batch.n_seq_id[index] = token, index, 1
        batch.seq_id[index][0], batch.logits[index] = 0, True
    batch.n_tokens = len(tokens)
    assert lib.llama_decode(context, batch) == 0
    found = lib.llama_get_embeddings_seq(context, 0)
    floats = lib.llama_model_n_cls_out(model.handle) if model.pooling == "rank" else model.vector_floats
    numbers = list(found[:floats])
    lib.llama_batch_free(batch)
    lib.llama_free(context)
    return numbers


def unit(vector: Sequence[float]) -> list[float]:
    length = math.sqrt(sum(number * number for number in vector))
    return [number / length for number in vector]


def reference_vector(model: Model, text: str) -> list[float]:
    tokens = model.tokenize(text, parse_special=False, add_special=True)
    return unit(reference(model, tokens, MEAN if model.pooling is None else AS_THE_FILE_SAYS))


def answers(embedder: Embedder, budget: int) -> dict[int, Embedded | Scored | Starved]:
    """Everything that is still to come."""
    found: dict[int, Embedded | Scored | Starved] = {}
    while not embedder.is_idle:
        for answer in embedder.step(budget)[0]:
            assert answer.id not in found, "a text was answered twice"
            found[answer.id] = answer
    return found


def vectors(context: VectorContext, texts: Sequence[str], budget: int) -> list[list[float]]:
    embedder = Embedder(context)
    for id, text in enumerate(texts):
        assert embedder.submit(Embed(id, text)) is None
    found = answers(embedder, budget)
    return [floats(found[id]) for id in range(len(texts))]


def floats(answer: Embedded | Scored | Starved) -> list[float]:
    assert isinstance(answer, Embedded)
    return list(array("f", base64.b64decode(answer.vector)))


def furthest(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("budget", [8, 512], ids=["in many steps", "in few steps"])
@pytest.mark.parametrize("shape", CAUSAL + WHOLE)
def test_vectors_are_those_that_llama_cpp_makes_of_one_text_at_a_time(
    shape: str, budget: int, model_of: Callable[[str], Model], context_of: Callable[[str], VectorContext]
) -> None:
    """Long texts too: llama.cpp reads those in tiles, which with quantised weights alone makes a difference of 1e-3."""
    expected = [reference_vector(model_of(f"{shape}/F16"), text) for text in TEXTS]

    found = vectors(context_of(f"{shape}/F16"), TEXTS, budget)

    assert max(map(furthest, found, expected)) < TOLERANCE
    assert max(furthest(found[0], other) for other in found[1:]) > 100 * TOLERANCE, "all texts look the same"


@pytest.mark.parametrize("shape", CAUSAL + WHOLE)
def test_short_texts_get_llama_cpps_vectors_from_quantised_weights_too(
    shape: str, model_of: Callable[[str], Model], context_of: Callable[[str], VectorContext]
) -> None:
    short = [TEXTS[0], TEXTS[1], TEXTS[3]] * 4
    expected = [reference_vector(model_of(shape), text) for text in short]

    assert max(map(furthest, vectors(context_of(shape), short, 512), expected)) < TOLERANCE


@pytest.mark.parametrize("budget", [7, 16, 100])
@pytest.mark.parametrize("shape", CAUSAL + WHOLE)
def test_neither_neighbours_nor_portions_change_a_vector(
    shape: str, budget: int, context_of: Callable[[str], VectorContext]
) -> None:
    context = context_of(shape)
    alone = [vectors(context, [text], 512)[0] for text in TEXTS]

    together = vectors(context, TEXTS * 3, budget)

    assert max(map(furthest, together, alone * 3)) < SAME


@pytest.mark.parametrize("shape", ["tiny-reranker", "tiny-judge"])
def test_scores_are_llama_cpps_first_output_for_the_pair(
    shape: str, model_of: Callable[[str], Model], context_of: Callable[[str], VectorContext]
) -> None:
    model, embedder, query = model_of(shape), Embedder(context_of(shape)), "Where is the harbour?"
    documents = [TEXTS[0], TEXTS[1], TEXTS[3], "Here.", "The valve on the left closes first."]
    for id, document in enumerate(documents):
        assert embedder.submit(Rank(id, query, document)) is None
    found = answers(embedder, 64)

    for id, document in enumerate(documents):
        tokens = pair_tokens(query, document, model.pair_layout, model)
        answer = found[id]
        assert isinstance(answer, Scored)
        assert answer.score == pytest.approx(reference(model, tokens, AS_THE_FILE_SAYS)[0], abs=TOLERANCE)
        assert answer.prompt_tokens == len(tokens)
    assert len({round(answer.score, 5) for answer in found.values() if isinstance(answer, Scored)}) > 1


def test_token_ids_are_read_as_they_are(
    model_of: Callable[[str], Model], context_of: Callable[[str], VectorContext]
) -> None:
    tokens = model_of("tiny").tokenize(TEXTS[0], parse_special=False, add_special=True)
    embedder = Embedder(context_of("tiny"))
    embedder.submit(Embed(1, "", tuple(tokens)))
    embedder.submit(Embed(2, TEXTS[0]))

    found = answers(embedder, 512)

    assert furthest(floats(found[1]), floats(found[2])) < TOLERANCE


def test_a_text_longer_than_the_context_is_refused_with_both_numbers(
    context_of: Callable[[str], VectorContext],
) -> None:
    embedder = Embedder(context_of("tiny-bert"))

    assert embedder.submit(Embed(3, "", tuple([200] * 513))) == Rejected(3, 513, 512)
    assert embedder.is_idle


@pytest.mark.parametrize("shape", ["tiny", "tiny-bert"])
def test_a_text_as_long_as_the_context_is_read(shape: str, context_of: Callable[[str], VectorContext]) -> None:
    context = context_of(shape)
    embedder = Embedder(context)
    embedder.submit(Embed(1, "short"))
    embedder.submit(Embed(2, "", tuple([200] * context.longest_tokens)))
    embedder.submit(Embed(3, "short"))

    found = answers(embedder, 512)

    assert furthest(floats(found[1]), floats(found[3])) < TOLERANCE


def test_a_longer_text_that_arrives_while_one_is_under_way_waits_for_its_room(
    context_of: Callable[[str], VectorContext],
) -> None:
    context = context_of("tiny")
    expected = vectors(context, [TEXTS[2]], 512)[0]
    embedder = Embedder(context)
    embedder.submit(Embed(1, TEXTS[2]))
    embedder.step(8)
    embedder.submit(Embed(2, "", tuple([200] * context.longest_tokens)))

    found = answers(embedder, 64)

    assert furthest(floats(found[1]), expected) < TOLERANCE
    assert isinstance(found[2], Embedded)


def test_no_memory_for_a_context_is_said_and_survived(
    context_of: Callable[[str], VectorContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_of("tiny")
    monkeypatch.setattr(lib, "llama_init_from_model", lambda model, params: None)
    with pytest.raises(NoMemory):
        context.prepare(10)
    embedder = Embedder(context)
    embedder.submit(Embed(1, "word"))

    assert embedder.step(64) == ([Starved(1)], 0)
    monkeypatch.undo()
    embedder.submit(Embed(2, "word"))
    assert isinstance(answers(embedder, 64)[2], Embedded)


def test_memory_that_was_given_back_is_taken_again(context_of: Callable[[str], VectorContext]) -> None:
    context = context_of("tiny")
    first = vectors(context, TEXTS[:1], 64)
    context.close()

    assert context.prepared_tokens == 0
    assert vectors(context, TEXTS[:1], 64) == first


def test_what_was_forgotten_half_read_leaves_nothing_behind(context_of: Callable[[str], VectorContext]) -> None:
    context = context_of("tiny")
    expected = vectors(context, TEXTS[:1], 64)[0]
    context.prepare(100)
    context.read([Portion(0, 0, [5] * 40, is_last=False)])
    context.forget(0)
    (vector,) = context.read([Portion(0, 0, context.tokens_of(Embed(1, TEXTS[0])), is_last=True)])

    assert furthest(unit(vector), expected) < TOLERANCE
