"""J6: no regular expression of ours can be made to run for long by what it is given."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

import edged

LENGTH = 100_000
# Linear ones take milliseconds. One that tries every beginning with every end needs 10^10 steps: minutes.
LONG_S = 5.0
# What is never asked of more than so many characters, and what reads on from where its last match ended.
SHORT = {"edged.api.wishes._TITLE": 500}
READS_ON = {"edged.worker.gbnf._TOKEN"}
PIECES = ["a", "0", " ", "\n", "\\", '"', "-", ".", "<", "a.", "a ", "a-", '\\"', "/*", "[a", "主题", "title chat "]


def expressions() -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Every compiled expression that a module of ours keeps, by its place."""
    for module in pkgutil.walk_packages(edged.__path__, "edged."):
        if module.name.endswith("__main__"):
            continue
        try:
            loaded = importlib.import_module(module.name)
        except ImportError as error:
            if "edged" in str(error.name):
                raise
            continue  # what is not installed here is somebody else's
        for name, value in vars(loaded).items():
            if isinstance(value, re.Pattern):
                yield f"{module.name}.{name}", value


FOUND = dict(expressions())


def test_there_are_some() -> None:
    assert any(name.startswith("edged.api.") for name in FOUND)
    assert any(name.startswith("edged.worker.") for name in FOUND)


@pytest.mark.parametrize("name", FOUND)
def test_the_time_it_takes_grows_with_the_text_and_no_faster(name: str) -> None:
    expression = FOUND[name]
    for piece in PIECES:
        for end in ("", "!", "\0"):
            text: Any = (piece * LENGTH)[: SHORT.get(name, LENGTH)] + end
            if isinstance(expression.pattern, bytes):
                text = text.encode()
            began_s = time.process_time()
            expression.match(text)
            expression.fullmatch(text)
            if name not in READS_ON:
                expression.sub(text[:0], text)

            assert time.process_time() - began_s < LONG_S, (piece, end)
