"""J6: no regular expression of ours can be made to run for long by what it is given.

Those in pydantic's fields are not among them: they are Rust's, whose time is linear by construction (docs.rs/regex).
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import edged

LENGTH = 100_000
# Linear ones take milliseconds. One that tries every beginning with every end needs 10^10 steps: minutes.
LONG_S = 0.05
# What is never asked of more than so many characters, and what is asked of a beginning or a whole and never searched.
SHORT = {"edged.api.wishes._TITLE": 500}
VERBS = ("match", "fullmatch", "search", "sub", "split", "findall", "finditer")
ANCHORED = {"edged.worker.gbnf._TOKEN", "edged.store.manifest._FILE"}
PIECES = ["a", "0", " ", "\n", "\\", '"', "-", ".", "<", "a.", "a ", "a-", '\\"', "/*", "[a", "主题", "title chat "]
# What some are looking for, so that they begin again and again.
LOOKED_FOR = {
    "edged.redaction": [
        "edk_",
        "edk_0123456789abcdef_",
        "edged_session=",
        "bearer ",
        "api-key:",
        "://",
        " /k/a",
        "?key=",
    ],
    "edged.api.anthropic_message": ["x-anthropic-billing-header: a=b;"],
}


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


def written_in_place() -> Iterator[tuple[str, str, re.Pattern[Any]]]:
    """Every expression that stands where it is used, by its place, and what it is asked to do."""
    package = Path(edged.__path__[0])
    for file in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(ast.Attribute(ast.Name("re"), verb), [ast.Constant(str(text)), *_]) if verb in VERBS:
                    yield f"{file.relative_to(package)} {text}", verb, re.compile(text)


def texts(module: str = "", length: int = LENGTH) -> Iterator[str]:
    """What is long, and the same again and again until it ends otherwise."""
    for piece in (*PIECES, *LOOKED_FOR.get(module, ())):
        for end in ("", "!", "\0"):
            yield (piece * (length // len(piece) + 1))[:length] + end


def least_s(act: Callable[[], object]) -> float:
    """How long it takes: where that is suspiciously long, the shortest of three, for machines that are busy."""
    times: list[float] = []
    while not times or (times[-1] > LONG_S and len(times) < 3):
        began_s = time.process_time()
        act()
        times.append(time.process_time() - began_s)
    return min(times)


FOUND = dict(expressions())
IN_PLACE = list(written_in_place())
# The slow machines that this is for take longer even to look at every character once.
MOST_S = max(LONG_S, 4 * least_s(partial(re.sub, "a?", "", "ab" * (LENGTH // 2))))


def test_there_are_some() -> None:
    assert any(name.startswith("edged.api.") for name in FOUND)
    assert any(name.startswith("edged.worker.") for name in FOUND)
    assert any(name.startswith("misconfigured.py ") for name, _, _ in IN_PLACE)


@pytest.mark.parametrize("name", FOUND)
def test_the_time_it_takes_grows_with_the_text_and_no_faster(name: str) -> None:
    expression, is_text = FOUND[name], isinstance(FOUND[name].pattern, str)
    for text in texts(name.rpartition(".")[0], SHORT.get(name, LENGTH)):
        given: Any = text if is_text else text.encode()
        acts: list[Callable[[], object]] = [partial(expression.match, given), partial(expression.fullmatch, given)]
        if name not in ANCHORED:
            acts.append(partial(expression.sub, given[:0], given))

        assert max(map(least_s, acts)) < MOST_S, text[:100]


@pytest.mark.parametrize(("verb", "expression"), [case[1:] for case in IN_PLACE], ids=[case[0] for case in IN_PLACE])
def test_nor_does_that_of_those_that_are_written_in_place(verb: str, expression: re.Pattern[str]) -> None:
    act: Callable[[str], object] = getattr(expression, verb if verb in ("match", "fullmatch") else "findall")
    for text in texts():
        assert least_s(partial(act, text)) < MOST_S, text[:100]


def test_one_that_tries_every_end_is_noticed() -> None:
    assert least_s(partial(re.compile("(a+)+b").match, "a" * 22)) > MOST_S
