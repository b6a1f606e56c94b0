"""An answer stays inside its grammar, a grammar that is no use ends its own answer only, and nothing else changes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edged.chat import Tool, ToolChoice
from edged.completion import TokenLogprob
from edged.sampling import Bias, Constraint, Sampling
from edged.speech.families import family_named
from edged.speech.forcing import constraint
from edged.wire import Failed, Output
from edged.worker import constraint as module
from edged.worker.batcher import Batcher
from edged.worker.bindings import lib
from edged.worker.constraint import Grammars, Guard
from edged.worker.context import Context
from edged.worker.drafts import Drafts
from edged.worker.job import CannotDraw, Job
from edged.worker.sampler import ChainSampler
from edged.worker.sequence import Sequence, StopFilter
from tests.fakes import KnownDrafts
from tests.speech.test_reply import read

NOISE = Sampling(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=7)
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
# More turns of the loop than any answer here takes; a grammar's thread may need some of them to come.
MANY_STEPS = 20_000


@pytest.fixture(scope="module")
def grammars(nano_context: Context) -> Grammars:
    return Grammars(nano_context.model)


class Bench:
    """A batcher with the tiny model, and what its answers said."""

    def __init__(self, context: Context, grammars: Grammars, drafts: Drafts | None = None) -> None:
        self.context, self.grammars = context, grammars
        self.batcher = Batcher(context, context.model, drafts=drafts)
        self.tokens: dict[int, list[int]] = {}
        self.outputs: list[Output] = []
        self.failed: list[Failed] = []

    def ask(
        self,
        id: int,
        wanted: Constraint | None = None,
        *,
        sampling: Sampling = NOISE,
        most: int = 48,
        prompt: str = "one two",
        stop: tuple[str, ...] = (),
        logprobs: int | None = None,
    ) -> None:
        tokens = self.context.model.tokenize(prompt, parse_special=False)
        guard = None if wanted is None else self.grammars.guard(wanted)
        sampler = ChainSampler(self.context, sampling, tokens, logprobs=logprobs, guard=guard)
        self.tokens[id] = tokens  # which grows
        self.batcher.submit(Job(Sequence(id, tokens, len(tokens), most, StopFilter(stop)), sampler))

    def run(self) -> None:
        for _ in range(MANY_STEPS):
            if self.batcher.is_idle:
                return
            if self.batcher.is_stalled:
                self.grammars.wait(0.01)
            self.outputs += self.batcher.step(32)[0]
            self.failed += self.batcher.take_failed()
        raise AssertionError("it never came to an end")

    def scores(self, id: int) -> list[TokenLogprob]:
        return [score for output in self.outputs if output.id == id for score in output.logprobs]

    def text(self, id: int) -> str:
        return "".join(output.text for output in self.outputs if output.id == id)

    def finish(self, id: int) -> str | None:
        return next((output.finish for output in self.outputs if output.id == id and output.finish), None)

    def complaint(self, id: int) -> str:
        (found,) = [failed for failed in self.failed if failed.id == id]
        assert found.code == "grammar_invalid"
        return found.message


def wait_for(guard: Guard, grammars: Grammars) -> None:
    while not guard.is_ready:
        grammars.wait(0.01)


@pytest.fixture
def bench(context: Context, grammars: Grammars) -> Bench:
    return Bench(context, grammars)


def schema(value: object, *, is_lenient: bool = False) -> Constraint:
    return Constraint("json_schema", json.dumps(value), is_lenient)


@pytest.mark.parametrize("family", ["hermes", "qwen-xml", "gemma", "harmony", "lfm2", "mistral"])
def test_a_call_that_must_be_made_is_made_by_a_model_that_talks_noise(bench: Bench, family: str) -> None:
    properties = {"city": {"type": "string", "maxLength": 4}, "unit": {"enum": ["celsius", "kelvin"]}}
    required = ["unit"] if family in ("qwen-xml", "gemma") else ["city", "unit"]  # any text would be noise for ever
    parameters = {"type": "object", "properties": {name: properties[name] for name in required}, "required": required}
    tool = Tool("weather", parameters=json.dumps({**parameters, "additionalProperties": False}))
    kind = family_named(family)
    wanted = constraint(kind, [tool], ToolChoice("required"), None, parallel=False, is_thinking=False, may_think=False)
    bench.ask(1, wanted, most=400)
    bench.run()

    assert bench.finish(1) == "stop"
    found = read(kind, [bench.text(1)], (tool,))[0]
    ((name, arguments),) = found.calls
    assert (found.words, found.complete, name) == ("", 1, "weather")
    assert list(json.loads(arguments)) == required


def test_json_of_a_schema_from_a_model_that_talks_noise(bench: Bench) -> None:
    for id in range(1, 5):
        bench.ask(id, schema(PERSON), sampling=NOISE.for_choice(id), most=120)
    bench.run()

    for id in range(1, 5):
        assert bench.finish(id) == "stop"
        person = json.loads(bench.text(id))
        assert list(person) == ["name", "age"]
        assert 0 <= person["age"] <= 150


@pytest.mark.parametrize(
    ("wanted", "shape"),
    [
        (Constraint("regex", "[a-f]{3}-[0-9]{2}"), "[a-f]{3}-[0-9]{2}"),
        (Constraint("gbnf", 'root ::= "yes" | "no"'), "yes|no"),
        (Constraint("gbnf", 'root ::= [a-c]+ "c" d?\nd ::= "!"'), "[a-c]+c!?"),
        (Constraint("lark", '%llguidance {}\nstart: "<" /[0-9]{2}/ ">"'), "<[0-9]{2}>"),
        (schema({"enum": ["red", "blue"]}), '"(red|blue)"'),
        (schema({"const": None}), "null"),
        (Constraint("regex", "你好(世界)?"), "你好(世界)?"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.kind,
)
def test_greedily_or_not_the_answer_is_what_was_asked_for(bench: Bench, wanted: Constraint, shape: str) -> None:
    bench.ask(1, wanted)
    bench.ask(
        2,
        wanted,
        sampling=Sampling(
            temperature=0.0,
            logit_bias=(Bias(lib.llama_vocab_eos(lib.llama_model_get_vocab(bench.context.model.handle)), 100.0),),
        ),
    )
    bench.run()

    for id in (1, 2):
        assert re.fullmatch(shape, bench.text(id)) or bench.finish(id) == "length", bench.text(id)
    assert re.fullmatch(shape, bench.text(2)), "it may always end where the grammar does"
    assert bench.finish(2) == "stop"


def test_a_truncated_answer_is_the_beginning_of_one(bench: Bench) -> None:
    bench.ask(1, Constraint("regex", "a{400}"), most=5)
    bench.run()

    assert bench.finish(1) == "length"
    assert set(bench.text(1)) == {"a"}


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        (schema({"type": "nonsense"}), "nonsense"),
        (schema({"$ref": "#/nowhere"}), "nowhere"),
        (schema({"$ref": "https://example.com/schema.json"}), "not present"),
        (schema({"type": "string", "pattern": "(?<=a)b"}), "look-around"),
        (schema({"not": {"type": "string"}}), "not"),
        (Constraint("json_schema", "{"), "line 1"),
        (Constraint("regex", "["), "unclosed"),
        (Constraint("gbnf", 'root ::= "a" nope'), "nope"),
        (Constraint("lark", "%llguidance {}\nstart: ("), "lark|expected|Expected"),
        (Constraint("lark", "%llguidance {}\nstart: A\nA: /a/ & /b/"), "nothing can follow"),
        (Constraint("gbnf", 'root ::= root "x"'), "nothing can follow"),
        (schema({"$ref": "#"}), "nothing can follow"),
    ],
)
def test_what_cannot_be_followed_ends_with_its_reason_and_others_go_on(
    bench: Bench, wanted: Constraint, complaint: str
) -> None:
    bench.ask(1, wanted)
    bench.ask(2)
    bench.run()

    assert re.search(complaint, bench.complaint(1))
    assert "non-verbose" not in bench.complaint(1)
    assert not any(output.id == 1 and output.finish for output in bench.outputs)
    assert bench.finish(2)


def test_a_lenient_schema_leaves_to_the_model_what_cannot_be_enforced(bench: Bench) -> None:
    bench.ask(1, schema({"type": "string", "maxLength": 3, "format": "colour"}, is_lenient=True))
    bench.ask(2, schema({"type": "string", "maxLength": 3, "format": "colour"}))
    bench.run()

    assert len(json.loads(bench.text(1))) <= 3
    assert "colour" in bench.complaint(2)


@contextmanager
def slow_masks(monkeypatch: pytest.MonkeyPatch, *, patience_s: float) -> Iterator[None]:
    """Masks take as long as the block lasts."""
    import threading

    until = threading.Event()
    check = module._check

    def late(matcher: object) -> None:
        until.wait()
        check(matcher)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(module, "_check", late)
        patch.setattr(module, "PATIENCE_S", patience_s)
        yield
    until.set()


def test_a_mask_that_does_not_come_ends_its_own_answer_and_frees_its_slot(
    bench: Bench, grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    with slow_masks(monkeypatch, patience_s=0.2):
        bench.ask(1, Constraint("regex", "a*"))
        bench.ask(2, most=8)
        bench.run()

        assert "not clear within" in bench.complaint(1)
        assert bench.finish(2) == "length"


def test_too_many_computations_left_behind_are_not_joined_by_more(
    bench: Bench, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.grammars = Grammars(context.model)
    with slow_masks(monkeypatch, patience_s=0.1):
        for id in range(4):
            bench.ask(id, Constraint("regex", "a*"))
        bench.run()
        with pytest.raises(CannotDraw, match="try again") as refused:
            bench.ask(5, Constraint("regex", "a*"))
        assert refused.value.code == "queue_full"
    left = bench.grammars._left
    for guard in left:
        guard._thread.join()

    bench.ask(6, Constraint("regex", "ab"))
    bench.run()
    assert bench.text(6) == "ab"


@pytest.mark.parametrize("wanted", [None, schema(PERSON)], ids=["free", "constrained"])
def test_a_seed_fixes_the_words_whatever_else_is_in_the_batch(bench: Bench, wanted: Constraint | None) -> None:
    bench.ask(1, wanted)
    bench.run()
    bench.ask(2, prompt="other words that take longer to read", sampling=NOISE.for_choice(5))
    bench.ask(3, wanted)
    bench.ask(4, Constraint("regex", "[0-9]+"), sampling=NOISE.for_choice(6))
    bench.run()

    assert bench.text(1)
    assert bench.text(3) == bench.text(1)


def test_drafts_change_no_words_inside_a_grammar_and_no_scores(context: Context, grammars: Grammars) -> None:
    def asked(drafts: Drafts | None = None) -> Bench:
        bench = Bench(context, grammars, drafts)
        for id, wanted in enumerate([schema(PERSON), Constraint("regex", "([a-f]{3} ){6}"), None]):
            bench.ask(id, wanted, sampling=NOISE.for_choice(id), most=60, logprobs=2)
        bench.run()
        return bench

    plain = asked()
    drafts = KnownDrafts(plain.tokens)
    drafted = asked(drafts)

    assert drafts.drafted > 50
    for id in range(3):
        assert (drafted.text(id), drafted.finish(id)) == (plain.text(id), plain.finish(id))
        assert drafted.scores(id) == plain.scores(id)


def test_a_guard_looks_along_a_draft_and_is_ready_at_once_for_what_comes_as_foreseen(
    context: Context, grammars: Grammars
) -> None:
    tokens = context.model.tokenize("abcabcabc", parse_special=False)[1:]
    guard, plain = (grammars.guard(Constraint("regex", "[a-c]*")) for _ in range(2))
    wait_for(guard, grammars)
    guard.foresee([*tokens, context.model.tokenize("9", parse_special=False)[-1], tokens[0]])
    while len(guard._ahead) < len(tokens):
        grammars.wait(0.01)

    for token in tokens:
        guard.follow(token)
        assert guard.is_ready
        wait_for(plain, grammars)
        plain.follow(token)
        wait_for(plain, grammars)
        assert guard._mask == plain._mask
    guard.follow(tokens[0])  # foreseen was what the grammar does not allow
    wait_for(guard, grammars)
    plain.follow(tokens[0])
    wait_for(plain, grammars)
    assert guard._mask == plain._mask
    guard.close()
    plain.close()


def test_a_guard_goes_on_from_what_was_drawn_when_something_else_was_foreseen(
    context: Context, grammars: Grammars
) -> None:
    tokens = context.model.tokenize("abcabcabc", parse_special=False)[1:]
    guard, plain = (grammars.guard(Constraint("regex", "a?bc*[a-c]*|[a-c]*d")) for _ in range(2))
    for drawn in tokens:
        wait_for(guard, grammars)
        guard.foresee([*reversed(tokens)])
        for following in (guard, plain):
            wait_for(following, grammars)
            following.follow(drawn)
            wait_for(following, grammars)
        assert guard._mask == plain._mask
    guard.close()
    plain.close()


def test_a_cancelled_answer_lets_its_grammar_go(bench: Bench) -> None:
    bench.ask(1, Constraint("regex", "a{1000}"), most=200)
    sampler = bench.batcher._waiting[0].sampler
    assert isinstance(sampler, ChainSampler)
    guard = sampler._guard
    assert guard is not None
    for _ in range(3):
        bench.batcher.step(32)
    bench.batcher.cancel(1)

    guard._thread.join()
    assert bench.batcher.is_idle


def test_a_vocabulary_without_an_end_cannot_be_constrained(
    bench: Bench, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(context.model), "is_end", lambda self, token: False)
    bench.grammars = Grammars(context.model)
    bench.ask(1, Constraint("regex", "a"))
    bench.run()

    (failed,) = bench.failed
    assert failed.code == "capability_missing"


def test_what_the_bias_forbids_is_not_drawn(bench: Bench) -> None:
    bench.ask(1, sampling=Sampling(temperature=0.0), most=1, logprobs=0)
    bench.run()
    (score,) = bench.outputs[-1].logprobs
    vocabulary = range(bench.context.model.vocabulary_tokens)
    favourite = next(token for token in vocabulary if bench.context.model.piece(token) == score.piece)
    bench.ask(2, sampling=Sampling(temperature=0.0, logit_bias=(Bias(favourite, -100.0),)), most=1, logprobs=3)
    bench.run()

    (other,) = bench.outputs[-1].logprobs
    assert other.piece != score.piece
    assert (other.top[0].piece, other.top[0].logprob) == (score.piece, score.logprob), "scores are the model's own"
