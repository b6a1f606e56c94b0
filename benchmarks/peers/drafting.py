"""A smaller model that guesses ahead for a larger one: what it wins, alone and beside others.

The smaller one is the last block of the larger one with its embedding, a quarter of its bytes. How often it agrees is
the shape's: of `qwen2.5-1.5b` (`--model`) about every second time, of the easy one nearly always.
"""

from dataclasses import dataclass

from benchmarks.peers.chats import Ask, user
from benchmarks.peers.contenders import Needs, Stage
from benchmarks.peers.scenario import Promise, Scenario, Values


@dataclass(frozen=True, slots=True)
class Drafting:
    """Two answers in one conversation: for the second one most of the text was read for the first."""

    prompt_words: int
    tokens: int

    async def __call__(self, stage: Stage, seed: int) -> Values:
        question = user(self.prompt_words, "drafting", seed)
        first = await stage.chat(Ask([question], self.tokens))
        turn = [question, first.message(), user(20, "again", seed)]
        before = await stage.resident()
        second = await stage.chat(Ask(turn, self.tokens))
        after = await stage.resident()
        values = {"first answer": first.tokens_per_s, "second answer": second.tokens_per_s}
        drafted, accepted = (after[name] - before[name] for name in ("drafted_tokens", "accepted_tokens"))
        return values | ({"right": 100 * accepted / drafted} if drafted else {})


DRAFTING = Scenario(
    name="drafting",
    what="a smaller model guesses ahead",
    values={"first answer": "tokens/s", "second answer": "tokens/s", "right": "%"},
    plays={"whole": Drafting(60, 256), "quick": Drafting(60, 96), "nano": Drafting(20, 48)},
    promises=(
        Promise("first answer", "edged without a smaller model", least=0.97),
        Promise("second answer", "edged without a smaller model", least=0.97),
    ),
    needs=Needs(has_drafter=True, settings={"engine.lookup": "false"}),
    peers=("edged without a smaller model",),
    shape="qwen2.5-1.5b-easy",
    nano_shape="tiny-deep",
    is_smaller_better=False,
)
