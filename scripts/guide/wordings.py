"""The text of guide: topics, answers and wordings, read from text/*.toml.

A wording is written in a small grammar: (a|b|) is a choice, <name> a choice from [slots] of the file. One line of it is
one pattern; expanded, it gives every wording that it stands for. Standard library only: tests and exam use this
without the trainer's environment.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random
from typing import TypeAlias

HERE = Path(__file__).parent
LANGUAGES = ("en", "zh")
OTHER = "other"

Node: TypeAlias = "str | list[Node] | tuple[Node, ...]"  # literal text, a choice of branches, a sequence of parts


@dataclass(frozen=True, slots=True)
class Topic:
    """What guide knows about one thing in one language."""

    id: str
    language: str
    answer: str
    patterns: tuple[str, ...]
    trees: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """One question of the exam and the topic that a right answer belongs to."""

    text: str
    topic: str


def load_topics(language: str) -> list[Topic]:
    """All topics of a language, in the order of the file. ValueError names the pattern that cannot be read."""
    tables = tomllib.loads((HERE / "text" / f"{language}.toml").read_text(encoding="utf-8"))
    slots = tables.pop("slots", {})
    topics = []
    for topic_id, table in tables.items():
        patterns = tuple(line.strip() for line in table["questions"].splitlines() if line.strip())
        trees = tuple(parse(pattern, slots) for pattern in patterns)
        topics.append(Topic(topic_id, language, table["answer"], patterns, trees))
    return topics


def load_exam(language: str) -> list[Question]:
    """The exam's questions of a language."""
    tables = tomllib.loads((HERE / f"exam.{language}.toml").read_text(encoding="utf-8"))
    return [Question(table["text"], table["topic"]) for table in tables["question"]]


def parse(pattern: str, slots: dict[str, str]) -> Node:
    """The tree of a pattern. ValueError if a parenthesis or a slot's name is wrong."""
    for name in re.findall(r"<([a-z]+)>", pattern):
        if name not in slots:
            raise ValueError(f"{pattern!r}: no slot is called {name!r}")
        pattern = pattern.replace(f"<{name}>", f"({slots[name]})")
    tree, end = _parse_choice(pattern, 0)
    if end != len(pattern):
        raise ValueError(f"{pattern!r}: a ')' without its '(' at character {end + 1}")
    return tree


def _parse_choice(text: str, at: int) -> tuple[Node, int]:
    """Branches separated by '|', up to the end of the text or the ')' that closes them."""
    branches: list[Node] = []
    parts: list[Node] = []
    while at < len(text) and text[at] != ")":
        if text[at] == "|":
            branches.append(tuple(parts))
            parts, at = [], at + 1
        elif text[at] == "(":
            inner, at = _parse_choice(text, at + 1)
            if at >= len(text):
                raise ValueError(f"{text!r}: a '(' is not closed")
            parts, at = [*parts, inner], at + 1
        else:
            run = re.compile(r"[^()|]+").match(text, at)
            assert run is not None
            parts, at = [*parts, run.group()], run.end()
    branches.append(tuple(parts))
    return branches, at


def expand(tree: Node) -> Iterator[str]:
    """Every wording of a tree, with runs of spaces made one."""
    for text in _expand(tree):
        yield " ".join(text.split())


def _expand(tree: Node) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, list):
        for branch in tree:
            yield from _expand(branch)
    else:
        for parts in product(*(list(_expand(part)) for part in tree)):
            yield "".join(parts)


def draw(topic: Topic, random: Random) -> str:
    """One trained wording of a topic; every pattern, and in it every choice, is equally likely."""
    while True:
        text = " ".join(_draw(random.choice(topic.trees), random).split())
        if is_in_language(text, topic.language):
            return text


def is_in_language(text: str, language: str) -> bool:
    """Whether a text is worth an answer in this language: a Chinese question has at least one Chinese character."""
    return bool(text) and (language != "zh" or _HAN.search(text) is not None)


def _draw(tree: Node, random: Random) -> str:
    if isinstance(tree, str):
        return tree
    if isinstance(tree, list):
        return _draw(random.choice(tree), random)
    return "".join(_draw(part, random) for part in tree)


def wordings(topic: Topic) -> set[str]:
    """Every trained wording of a topic."""
    return {text for tree in topic.trees for text in expand(tree) if is_in_language(text, topic.language)}


RUN_TOKENS = 6  # a run this long shared by exam and text would make the exam a test of memory
_HAN = re.compile(r"[\u3400-\u9fff]")
_TOKEN = re.compile(r"[a-z0-9]+|[\u3400-\u9fff]")


def tokens(text: str) -> tuple[str, ...]:
    """Words of Latin letters and digits, and single Han characters: case and punctuation do not count."""
    return tuple(_TOKEN.findall(text.lower().replace("'", "").replace("’", "")))


def runs(text: str) -> set[tuple[str, ...]]:
    """All runs of RUN_TOKENS tokens in a text."""
    all_tokens = tokens(text)
    return {all_tokens[at : at + RUN_TOKENS] for at in range(len(all_tokens) - RUN_TOKENS + 1)}
