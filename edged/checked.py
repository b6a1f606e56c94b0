"""Decoded JSON becomes a value of a given type, every field checked: for what comes from somebody who may be anybody.

A type is a dataclass of such types, `str`, `int`, `float`, `bool`, `bytes` (a string with one character for each:
pieces of tokens are not always UTF-8), a `Literal`, `tuple[X, ...]` or `X | None`. Nothing else is converted but
integers to floats, nothing is added and nothing may be missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

Reader: TypeAlias = Callable[[Any], Any]


@cache
def reader(kind: Any) -> Reader:
    """A function that turns decoded JSON into a value of type `kind`, or raises ValueError or TypeError."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (inner,) = [argument for argument in arguments if argument is not NoneType]
        read = reader(inner)
        return lambda value: None if value is None else read(value)
    if origin is Literal:
        return _one_of(frozenset(arguments))
    if origin is tuple:
        element = reader(arguments[0])
        return lambda value: tuple([element(item) for item in _exactly(list, value)])
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    if kind is float:
        return _finite
    if kind is bytes:
        return lambda value: _exactly(str, value).encode("latin-1")
    return lambda value: _exactly(kind, value)


def fields_of(value: Any) -> dict[str, object] | str:
    """A dataclass or bytes as `json.dumps` wants them from its `default`. Raises `TypeError` for anything else."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not is_dataclass(value):
        raise TypeError(f"{type(value).__name__} has no place on the wire")
    kind: Any = type(value)
    return {name: getattr(value, name) for name in _field_names(kind)}


@cache
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _dataclass_reader(kind: Any) -> Reader:
    hints = get_type_hints(kind)
    readers = [(name, reader(hints[name])) for name in _field_names(kind)]

    def read(value: Any) -> Any:
        if len(_exactly(dict, value)) != len(readers):
            raise ValueError(f"{kind.__name__} with fields {sorted(value)}")
        return kind(*[reads(value[name]) for name, reads in readers])

    return read


def _one_of(allowed: frozenset[object]) -> Reader:
    def read(value: Any) -> Any:
        if value not in allowed:
            raise ValueError(f"{value!r} is not one of {sorted(map(str, allowed))}")
        return value

    return read


def _finite(value: Any) -> float:
    number = float(_exactly((int, float), value))
    if not math.isfinite(number):  # Python's json reads NaN, Infinity and 1e999
        raise ValueError(f"{number} is not a number")
    return number


def _exactly(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r} is not {kind}")
    return value
