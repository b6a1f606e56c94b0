"""Examines a guide model: unseen questions, and a sample of the wordings that it was trained on.

    PYTHONPATH=scripts .venv/bin/python -m guide.exam [FILE.gguf] [--wordings 20] [--topics]

Right: the answer is exactly that of the question's topic. Abstained: guide said that it is only the guide, though it
should know. Wrong: anything else. Exits with 1 if a bar is missed.
"""

import argparse
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

from guide.greedy import Greedy
from guide.wordings import LANGUAGES, OTHER, Question, Topic, draw, load_exam, load_topics

ROOT = Path(__file__).parents[2]
RIGHT_BAR = 0.60  # of the exam, in each language
EXACT_BAR = 0.98  # of the trained wordings
SEED = 7  # of the sample of wordings


@dataclass(frozen=True, slots=True)
class Marks:
    """How the questions of one language went, per topic."""

    right: Counter[str]
    abstained: Counter[str]
    wrong: Counter[str]

    @property
    def right_share(self) -> float:
        """Share of right answers among all."""
        return self.right.total() / (self.right.total() + self.abstained.total() + self.wrong.total())


def main() -> int:
    """Run both parts, print the marks; 1 below a bar."""
    arguments = _arguments()
    model = Greedy(arguments.file)
    passed = True
    for language in LANGUAGES:
        marks = examine(model, language)
        print(f"exam {language}: {_line(marks)}")
        if arguments.topics:
            print_topics(marks)
        passed &= marks.right_share >= RIGHT_BAR
    share, seconds = exact_share(model, arguments.wordings)
    print(f"trained wordings: {share:.2%} exact; {seconds * 1000:.1f} ms for each answer, {SEED=}")
    return 0 if passed and share >= EXACT_BAR else 1


def examine(model: Greedy, language: str) -> Marks:
    """Put the exam of a language to the model. A question that mixes languages may be answered in either."""
    questions = load_exam(language)
    answers = {name: {topic.id: topic.answer for topic in load_topics(name)} for name in LANGUAGES}
    marks = Marks(Counter(), Counter(), Counter())
    for question, answer in zip(questions, model.answers([question.text for question in questions]), strict=True):
        accepted = LANGUAGES if _is_mixed(question) else (language,)
        if any(answer == answers[name][question.topic] for name in accepted):
            marks.right[question.topic] += 1
        elif any(answer == answers[name][OTHER] for name in LANGUAGES):
            marks.abstained[question.topic] += 1
        else:
            marks.wrong[question.topic] += 1
    return marks


def exact_share(model: Greedy, wordings_per_topic: int) -> tuple[float, float]:
    """Of so many trained wordings per topic and language, the share answered exactly, and the seconds for each."""
    random = Random(SEED)
    topics: list[Topic] = [topic for language in LANGUAGES for topic in load_topics(language)]
    sample = [(draw(topic, random), topic.answer) for topic in topics for _ in range(wordings_per_topic)]
    started = time.monotonic()
    given = list(model.answers([text for text, _ in sample]))
    exact = sum(answer == expected for answer, (_, expected) in zip(given, sample, strict=True))
    return exact / len(sample), (time.monotonic() - started) / len(sample)


def print_topics(marks: Marks) -> None:
    """One line for each topic of the exam, weakest first."""
    topics = marks.right.keys() | marks.abstained.keys() | marks.wrong.keys()
    lost = marks.abstained + marks.wrong
    for topic in sorted(topics, key=lambda topic: (marks.right[topic] - lost[topic], topic)):
        right, abstained, wrong = marks.right[topic], marks.abstained[topic], marks.wrong[topic]
        print(f"  {topic:22} right {right:3}  abstained {abstained:3}  wrong {wrong:3}")


def _is_mixed(question: Question) -> bool:
    """Han characters and Latin words in one question."""
    has_han = any("\u3400" <= letter <= "\u9fff" for letter in question.text)
    return has_han and any(letter.isascii() and letter.isalpha() for letter in question.text)


def _line(marks: Marks) -> str:
    right, abstained, wrong = marks.right.total(), marks.abstained.total(), marks.wrong.total()
    return f"{marks.right_share:.1%} right ({right} right, {abstained} abstained, {wrong} wrong)"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Examine a guide model.")
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        default=ROOT / "edged" / "guide.gguf",
        help="the GGUF file (default edged/guide.gguf)",
    )
    parser.add_argument("--wordings", type=int, default=20, help="trained wordings per topic and language (default 20)")
    parser.add_argument("--topics", action="store_true", help="print the marks of each topic")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
