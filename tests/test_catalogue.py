"""The catalogue: every fact has its source, and nothing stands there that would be wrong tomorrow."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from edged import catalogue
from edged.catalogue import Entry, entries, find

TEXT = catalogue.FILE.read_text()
FACTS = {
    "name": "small-1b",
    "repository": "someone/Small-1B-GGUF",
    "quantisation": "Q4_K_M",
    "licence": "MIT",
    "parameters": 10**9,
    "purpose": "chat",
    "about": "Short answers.",
}
SOURCES = dict.fromkeys(FACTS.keys() - {"name"}, "https://example.org/card")


def test_there_is_a_model_for_every_small_device_and_one_for_vectors() -> None:
    chats = sorted(entry.parameters for entry in entries() if entry.purpose == "chat")
    assert len(chats) >= 12
    assert chats[0] < 10**9
    assert 13 * 10**9 < chats[-1] < 15 * 10**9
    assert {entry.purpose for entry in entries()} == {"chat", "embeddings"}


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_every_fact_has_an_address_where_it_was_read(entry: Entry) -> None:
    facts = entry.model_fields_set - {"name", "checked", "sources"}
    assert set(entry.sources) == facts
    assert re.fullmatch(r"hf\.co/[\w.-]+/[\w.-]+:\w+", entry.reference)


def test_the_text_holds_no_sizes_and_no_checksums() -> None:
    assert not re.search(r"\b[0-9a-f]{64}\b|sha256|_bytes|\bG[i]?B\b", TEXT)


@pytest.mark.parametrize("fact", sorted(SOURCES))
def test_a_fact_without_a_source_is_refused(fact: str) -> None:
    kept = {name: address for name, address in SOURCES.items() if name != fact}
    with pytest.raises(ValidationError, match=f"no source for \\['{fact}'\\]"):
        Entry.model_validate({**FACTS, "sources": kept})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Small 1B"),
        ("name", "../small"),
        ("repository", "small"),
        ("repository", "a/b/c"),
        ("quantisation", "q4 k m"),
        ("licence", "llama3.2"),
        ("parameters", 0),
        ("checked", "yesterday"),
        ("checked", "2026-13-41"),
        ("size_bytes", 5),
    ],
)
def test_what_cannot_be_is_refused(field: str, value: object) -> None:
    Entry.model_validate({**FACTS, "sources": SOURCES})
    with pytest.raises(ValidationError):
        Entry.model_validate({**FACTS, "sources": SOURCES, field: value})


def test_a_name_is_found_as_programs_for_ollama_write_it() -> None:
    first = entries()[0]
    assert find(first.name) is find(f"{first.name}:latest") is first
    assert find("gpt-9") is None
