"""Answers that repeat what was said: what guessing ahead wins, and what it costs where nothing repeats.

How many guesses are right is chosen, not found. A grammar forces the answer token by token; the question holds all of
it, but cut at random where the guess shall be wrong, with another word behind the cut:

    answer     a b c d e f g h …
    question   a b c X   b c d e f X   e f g h …      after a b c the guess is X and wrong, after b c d it is e f X

So at every position the last three tokens are found in the question, and with the chosen chance what follows them is
what comes. The same questions are put to the same daemon without guessing.

`guide`, the built-in model, talks real text: an answer to a new question, and the same answer once more.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.client import vocabulary_words
from benchmarks.peers.chats import Ask
from benchmarks.peers.contenders import Needs, Stage
from benchmarks.peers.scenario import Promise, Scenario, Values
from edged.worker.model import Model as Vocabulary

# So many tokens before a cut are repeated behind it: what is looked up is never shorter (worker/lookup.py).
_MATCHED_TOKENS = 3
_SHARES = (0, 50, 90)


@dataclass(frozen=True, slots=True)
class Quoting:
    """One forced answer for each share of right guesses."""

    tokens: int

    async def __call__(self, stage: Stage, seed: int) -> Values:
        values: Values = {}
        for share in _SHARES:
            answer = _words(stage.model.path, self.tokens + 1, (seed, share))
            question = " ".join(_cut(answer, share / 100, random.Random(f"{seed} {share}")))
            ids = _single_tokens(stage.model.path)
            grammar = "%llguidance {}\nstart: " + " ".join(f"<[{ids[word]}]>" for word in answer)
            messages = [{"role": "user", "content": question}]
            before = await stage.resident()
            said = await stage.chat(Ask(messages, self.tokens, extra={"grammar": grammar}))
            after = await stage.resident()
            values[f"decode at {share} %"] = said.tokens_per_s
            drafted, accepted = (after[name] - before[name] for name in ("drafted_tokens", "accepted_tokens"))
            if drafted:
                values[f"right at {share} %"] = 100 * accepted / drafted
        return values


def _words(model: Path, count: int, seed: object) -> list[str]:
    return random.Random(repr(seed)).choices(sorted(_single_tokens(model)), k=count)


def _cut(answer: list[str], share: float, chance: random.Random) -> Iterator[str]:
    """The answer in pieces: each begins with the end of the one before it, and ends with a word that is wrong."""
    begun = 0
    for place in range(_MATCHED_TOKENS, len(answer)):
        if chance.random() >= share:
            yield from answer[begun:place]
            yield chance.choice([word for word in answer if word != answer[place]])
            begun = place + 1 - _MATCHED_TOKENS
    yield from answer[begun:]


@cache
def _single_tokens(model: Path) -> dict[str, int]:
    """Words that are one token behind a space, and that token."""
    vocabulary = Vocabulary(str(model), vocab_only=True)
    tokens = {word: vocabulary.tokenize(f"so {word}", parse_special=False) for word in vocabulary_words()}
    (so,) = {ids[0] for ids in tokens.values()}
    return {word: ids[1] for word, ids in tokens.items() if len(ids) == 2 and ids[0] == so}


QUOTING = Scenario(
    name="quoting",
    what="prompt-lookup: a forced answer of which 0, 50 and 90 % of the guesses are right",
    values={f"decode at {share} %": "tokens/s" for share in _SHARES}
    | {f"right at {share} %": "%" for share in _SHARES},
    plays={"whole": Quoting(256), "quick": Quoting(96), "nano": Quoting(48)},
    promises=(
        Promise("decode at 0 %", "edged without lookup", least=0.97),
        Promise("decode at 50 %", "edged without lookup", least=0.97),
        Promise("decode at 90 %", "edged without lookup", least=1.3),
    ),
    needs=Needs(),
    peers=("edged without lookup",),
    is_smaller_better=False,
)


@dataclass(frozen=True, slots=True)
class Guide:
    """A question to the built-in model, and the same question again in the same conversation."""

    tokens: int

    async def __call__(self, stage: Stage, seed: int) -> Values:
        question = {"role": "user", "content": _QUESTIONS[seed % len(_QUESTIONS)]}
        first = await stage.chat(Ask([question], self.tokens))
        again = await stage.chat(Ask([question, first.message(), question], self.tokens))
        return {"decode": first.tokens_per_s, "decode again": again.tokens_per_s}


_QUESTIONS = (
    "How do I add a model?",
    "What works without internet?",
    "How do I use it from another program?",
    "What does the badge on an answer mean?",
    "Who can see my conversations?",
)

GUIDE = Scenario(
    name="guide",
    what="prompt-lookup: the built-in model on real text, asked once and asked again",
    values={"decode": "tokens/s", "decode again": "tokens/s"},
    plays={"whole": Guide(24), "quick": Guide(24), "nano": Guide(16)},
    promises=(
        Promise("decode", "edged without lookup", least=0.97),
        Promise("decode again", "edged without lookup", least=0.97),
    ),
    needs=Needs(),
    peers=("edged without lookup",),
    shape="guide",
    nano_shape="guide",
    is_smaller_better=False,
)
