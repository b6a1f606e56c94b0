"""Decoded JSON into dataclasses and back, every field checked: nothing that does not fit its type gets in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

Reader: TypeAlias = Callable[[Any], Any]


def fields_of(value: Any) -> dict[str, object]:
    """A dataclass as JSON's encoder wants it. Raises TypeError for anything else."""
    if not is_dataclass(value):
        raise TypeError(f"{type(value).__name__} has no place on the wire")
    kind: Any = type(value)
    return {name: getattr(value, name) for name in _field_names(kind)}


@cache
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@cache
def reader_of(kind: Any) -> Reader:
    """A function that turns decoded JSON into a value of type `kind`, or raises ValueError or TypeError."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (inner,) = [argument for argument in arguments if argument is not NoneType]
        read = reader_of(inner)
        return lambda value: None if value is None else read(value)
    if origin is Literal:
        return _one_of(frozenset(arguments))
    if origin is tuple:
        element = reader_of(arguments[0])
        return lambda value: tuple([element(item) for item in _exactly(list, value)])
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    if kind is float:
        return _finite
    return lambda value: _exactly(kind, value)


def _dataclass_reader(kind: Any) -> Reader:
    hints = get_type_hints(kind)
    readers = [(name, reader_of(hints[name])) for name in _field_names(kind)]

    def read(value: Any) -> Any:
        if len(_exactly(dict, value)) != len(readers):
            raise ValueError(f"{kind.__name__} with fields {sorted(value)}")
        return kind(*[reader(value[name]) for name, reader in readers])

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
