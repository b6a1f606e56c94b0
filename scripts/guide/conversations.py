"""Conversations to train on: token ids, positions, and which tokens are to be learned.

Most are one question and the beginning of its answer, because the first tokens decide the topic. The rest has whole
answers, a system message in front, or many turns, each of which is learned: only the last question counts. Gaps are
left in the positions now and then, so that far-away history is known without long rows.
"""

from dataclasses import dataclass
from random import Random

from guide.augment import SYSTEM_MESSAGES, augment
from guide.vocabulary import IM_END, IM_START, Vocabulary
from guide.wordings import OTHER, Topic, draw

BEGINNING_TOKENS = 6  # of an answer: enough to tell every topic from every other
_WEIGHT_FIRST, _WEIGHT_BEGINNING, _WEIGHT_REST = 3.0, 1.0, 0.15  # the choice of the topic is the hard part
_TURNS = ((1, 1, 0.70), (2, 3, 0.15), (4, 8, 0.10), (9, 20, 0.05))  # fewest, most, share of the conversations
_OTHER_SHARE = 0.12  # of the questions: everything in the world that is not the appliance


@dataclass(frozen=True, slots=True)
class Conversation:
    """One row to train on. Weight n is that of predicting token n; 0 where nothing is learned."""

    ids: list[int]
    positions: list[int]
    weights: list[float]


class Source:
    """Draws conversations of all topics in all languages, reproducibly by the seed.

    `noisy_share` of the questions get noise on them.
    """

    def __init__(self, topics: list[Topic], vocabulary: Vocabulary, seed: int) -> None:
        self.random = Random(seed)
        self.vocabulary = vocabulary
        self.plain = [topic for topic in topics if topic.id != OTHER]
        self.other = [topic for topic in topics if topic.id == OTHER]
        self.answers = {id(topic): vocabulary.encode(topic.answer) for topic in topics}
        self.start, self.end = vocabulary.control(IM_START), vocabulary.control(IM_END)
        self.newline = vocabulary.encode("\n")
        self.noisy_share = 0.75

    def conversation(self) -> Conversation:
        """One conversation; three of ten have several turns, one of eight a system message."""
        random = self.random
        row = Conversation([], [], [])
        if random.random() < 0.12:
            self._add(
                row, self._message("system", " ".join(random.choices(SYSTEM_MESSAGES, k=random.choice((1, 1, 2, 4)))))
            )
        fewest, most, _ = random.choices(_TURNS, [share for _, _, share in _TURNS])[0]
        whole_share = random.choice((0.1, 0.1, 0.1, 1.0)) if most > 1 else 0.15
        for _ in range(random.randint(fewest, most)):
            self._turn(row, whole=random.random() < whole_share)
            self._gap(row)
        return row

    def question(self) -> tuple[Topic, str]:
        """A topic and one noisy wording of it."""
        random = self.random
        topic = random.choice(self.other if random.random() < _OTHER_SHARE else self.plain)
        text = draw(topic, random)
        if random.random() < self.noisy_share:
            text = augment(text, topic.language, random)
        return topic, text

    def _turn(self, row: Conversation, whole: bool) -> None:
        topic, text = self.question()
        self._add(row, self._message("user", text))
        self._add(row, [self.start, *self.vocabulary.encode("assistant\n")])
        answer = self.answers[id(topic)]
        rest = len(answer) - BEGINNING_TOKENS
        weights = [_WEIGHT_FIRST, *[_WEIGHT_BEGINNING] * (BEGINNING_TOKENS - 1), *[_WEIGHT_REST] * rest, _WEIGHT_REST]
        kept = len(answer) + 1 if whole else BEGINNING_TOKENS
        self._add(row, [*answer, self.end][:kept], weights[:kept])
        self._add(row, self.newline if whole else [self.end, *self.newline])

    def _message(self, role: str, text: str) -> list[int]:
        return [self.start, *self.vocabulary.encode(f"{role}\n{text}"), self.end, *self.newline]

    def _gap(self, row: Conversation) -> None:
        """Now and then, as if some thousand tokens had been between."""
        if self.random.random() < 0.3:
            row.positions[-1] += self.random.randrange(1, 2 ** self.random.randrange(4, 12))

    def _add(self, row: Conversation, ids: list[int], weights: list[float] | None = None) -> None:
        first = row.positions[-1] + 1 if row.positions else 0
        row.ids.extend(ids)
        row.positions.extend(range(first, first + len(ids)))
        row.weights.extend(weights or [0.0] * len(ids))
