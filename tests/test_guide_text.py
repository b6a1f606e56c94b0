"""What the text, the exam and the file of the built-in model promise; nothing here needs the trainer's environment."""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from guide.wordings import (
    LANGUAGES,
    OTHER,
    Topic,
    draw,
    expand,
    load_exam,
    load_topics,
    parse,
    runs,
    tokens,
    wordings,
)

ROOT = Path(__file__).parents[1]
GUIDE_FILE = ROOT / "edged" / "guide.gguf"
LARGEST_FILE_BYTES = 3_000_000
FEWEST_WORDINGS = 40
FEWEST_QUESTIONS = 200


def test_every_topic_has_an_answer_in_both_languages() -> None:
    english, chinese = ({topic.id: topic.answer for topic in load_topics(language)} for language in LANGUAGES)
    assert english.keys() == chinese.keys()
    assert OTHER in english
    assert all(answer.strip() == answer != "" for answer in [*english.values(), *chinese.values()])


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_two_topics_share_an_answer_or_begin_alike(language: str) -> None:
    beginnings = [topic.answer[:14] if language == "en" else topic.answer[:6] for topic in load_topics(language)]
    assert len(set(beginnings)) == len(beginnings)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_topic_has_many_wordings(language: str) -> None:
    few = {topic.id: len(found) for topic in load_topics(language) if len(found := wordings(topic)) < FEWEST_WORDINGS}
    assert not few


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_exam_is_large_and_asks_about_every_topic(language: str) -> None:
    exam = load_exam(language)
    assert len({question.text for question in exam}) >= FEWEST_QUESTIONS
    assert {question.topic for question in exam} == {topic.id for topic in load_topics(language)}


def test_no_trained_text_shares_six_tokens_in_a_row_with_the_exam() -> None:
    exam_runs = {run for language in LANGUAGES for question in load_exam(language) for run in runs(question.text)}
    shared = [text for text in trained_text() if runs(text) & exam_runs]
    assert not shared, f"delete these {len(shared)} wordings from the text, for example {shared[:20]}"


def test_no_question_of_the_exam_is_a_trained_wording() -> None:
    exam = {tokens(question.text) for language in LANGUAGES for question in load_exam(language)}
    same = [text for text in trained_text() if tokens(text) in exam]
    assert not same, f"delete these {len(same)} wordings from the text, for example {same[:20]}"


def trained_text() -> list[str]:
    """Every wording and every answer."""
    topics: list[Topic] = [topic for language in LANGUAGES for topic in load_topics(language)]
    return [topic.answer for topic in topics] + [text for topic in topics for text in wordings(topic)]


def test_a_pattern_stands_for_all_its_wordings() -> None:
    tree = parse("<verb> (a|my|) model", {"verb": "add|drop"})
    assert sorted(expand(tree)) == sorted(
        f"{verb} {which}model" for verb in ("add", "drop") for which in ("a ", "my ", "")
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_drawn_wording_is_one_of_the_wordings(language: str) -> None:
    topic = load_topics(language)[0]
    assert {draw(topic, Random(seed)) for seed in range(50)} <= wordings(topic)


def test_no_wording_belongs_to_two_topics() -> None:
    owners: dict[tuple[str, ...], set[str]] = {}
    for topic in [topic for language in LANGUAGES for topic in load_topics(language)]:
        for text in wordings(topic):
            owners.setdefault(tokens(text) or (text,), set()).add(f"{topic.language} {topic.id}")
    shared = {" ".join(text): sorted(topics) for text, topics in owners.items() if len(topics) > 1}
    assert not shared


@pytest.mark.parametrize("pattern", ["(a|b", "a)", "<nobody> knows"])
def test_a_pattern_that_cannot_be_read_is_named(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"\(a\|b|a\)|nobody"):
        parse(pattern, {})


def test_the_file_is_small_enough_for_the_package() -> None:
    assert GUIDE_FILE.stat().st_size <= LARGEST_FILE_BYTES
    assert GUIDE_FILE.read_bytes()[:4] == b"GGUF"


@pytest.mark.timeout(180)
def test_the_shipped_model_passes_its_exam() -> None:
    command = [sys.executable, "-m", "guide.exam", str(GUIDE_FILE)]
    exam = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "OMP_WAIT_POLICY": "passive"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert exam.returncode == 0, exam.stdout + exam.stderr
