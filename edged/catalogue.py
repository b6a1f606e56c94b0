"""Models for small devices, as data: `catalogue.toml` beside this file, checked when it is read.

An entry names where a model is fetched from and what is known of it, with the address where each fact was read. What
changes (sizes, checksums) is asked of the hub when somebody wants the model, and never written here.
"""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

FILE = Path(__file__).with_name("catalogue.toml")
# SPDX identifiers (spdx.org/licenses) of what anybody may use for anything; a model under another has no place here.
Licence: TypeAlias = Literal["Apache-2.0", "MIT", "BSD-3-Clause"]
Purpose: TypeAlias = Literal["chat", "embeddings"]
# What no source says is not a fact about the model but our own doing.
_OURS = frozenset({"name", "checked", "sources"})

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
_Repository = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")]
_Quantisation = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9][A-Za-z0-9_]*$")]
_Address = Annotated[str, StringConstraints(pattern=r"^https://[^\s\"]+$")]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Parameters = Annotated[int, Field(gt=0, le=10**11)]


class Entry(BaseModel):
    """A model that can be fetched by `name`. `sources` has an address for every fact that is given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Name
    repository: _Repository
    quantisation: _Quantisation
    licence: Licence
    parameters: _Parameters
    active_parameters: _Parameters | None = None
    languages: _Text = "not stated"
    purpose: Purpose
    about: _Text
    checked: Annotated[str, StringConstraints(pattern=r"^(\d{4}-\d{2}-\d{2})?$")] = ""
    sources: dict[str, _Address]

    @model_validator(mode="after")
    def _every_fact_has_its_source(self) -> Entry:
        facts = self.model_fields_set - _OURS
        if facts != self.sources.keys():
            missing, idle = sorted(facts - self.sources.keys()), sorted(self.sources.keys() - facts)
            raise ValueError(f"{self.name}: no source for {missing}, and sources for nothing: {idle}")
        if self.active_parameters is not None and self.active_parameters > self.parameters:
            raise ValueError(f"{self.name}: more active parameters than parameters")
        if self.checked:
            date.fromisoformat(self.checked)
        return self

    @property
    def reference(self) -> str:
        """What is fetched, as `edged pull` takes it."""
        return f"hf.co/{self.repository}:{self.quantisation}"

    @property
    def read_parameters(self) -> int:
        """How many parameters every token reads."""
        return self.active_parameters or self.parameters


def entries() -> tuple[Entry, ...]:
    """The catalogue that came with the product."""
    return _ENTRIES


def parse(text: str) -> tuple[Entry, ...]:
    """The entries of a catalogue. Raises `ValueError` for what cannot be one."""
    tree = tomllib.loads(text)
    found = tuple(Entry.model_validate(entry) for entry in tree.pop("model", []))
    names = [entry.name for entry in found]
    if tree or len(set(names)) != len(names):
        raise ValueError(f"A catalogue has models with names of their own, and nothing else: {sorted(tree)}, {names}.")
    return found


def find(name: str) -> Entry | None:
    """The entry called `name`, with or without `:latest`, as programs for Ollama write it."""
    bare = name.removesuffix(":latest")
    return next((entry for entry in entries() if entry.name == bare), None)


def reference_of(name: str) -> str | None:
    """What is fetched for a name of the catalogue; None for any other."""
    entry = find(name)
    return entry.reference if entry else None


_ENTRIES = parse(FILE.read_text())  # a few kilobytes, once
