"""What a person may type to get a model, and what is refused before anybody is asked."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.errors import Forbidden, InvalidRequest
from edged.pull.line import called
from edged.pull.reference import Link, Reference, Registered, Repository, checksum, parse


def read(text: str, catalogue: dict[str, str] | None = None) -> Reference:
    """Where the owner has named one host."""
    return parse(text, (catalogue or {}).get, lambda url: "//nas.local" in url)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("hf.co/maker/Small-GGUF", Repository("huggingface", "maker/Small-GGUF")),
        ("  hf.co/maker/Small-GGUF:Q8_0\n", Repository("huggingface", "maker/Small-GGUF", "Q8_0")),
        ("HuggingFace.co/a/b:sub/file.gguf", Repository("huggingface", "a/b", "sub/file.gguf")),
        ("https://huggingface.co/a/b", Repository("huggingface", "a/b")),
        ("https://hf.co/a/b/", Repository("huggingface", "a/b")),
        ("modelscope.cn/a/b:Q4_K_M", Repository("modelscope", "a/b", "Q4_K_M")),
        ("https://www.modelscope.cn/a/b", Repository("modelscope", "a/b")),
        ("llama3.2:1b", Registered("library", "llama3.2", "1b")),
        ("llama3.2", Registered("library", "llama3.2", "latest")),
        ("library/llama3.2:1b", Registered("library", "llama3.2", "1b")),
        ("user/model:tag", Registered("user", "model", "tag")),
        ("registry.ollama.ai/library/llama3.2:1b", Registered("library", "llama3.2", "1b")),
        ("registry.ollama.ai/user/model", Registered("user", "model", "latest")),
        ("https://a.org/x/model.gguf", Link("https://a.org/x/model.gguf")),
        ("https://a.org/model.GGUF?sig=a%2Fb#part", Link("https://a.org/model.GGUF?sig=a%2Fb")),
        ("http://nas.local/model.gguf", Link("http://nas.local/model.gguf")),
        ("https://huggingface.co/a/b/resolve/main/c.gguf", Link("https://huggingface.co/a/b/resolve/main/c.gguf")),
    ],
)
def test_a_reference_is_understood(text: str, meant: Reference) -> None:
    assert read(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "../x",
        "a/../b",
        "/etc/passwd",
        "~/x",
        "-x",
        ".",
        "a..b",
        "a\\b",
        "a b",
        "a\0b",
        "ä",
        "\u202egguf",
        "%2e%2e",
        "x:",
        ":x",
        "a:b:c",
        "a:../b",
        "x" * 3000,
        "hf.co/a",
        "hf.co/a/b/c",
        "hf.co//b",
        "hf.co/a/..",
        "file:///etc/passwd",
        "ftp://a/b.gguf",
        "https://",
        "https:///x.gguf",
        "https://a.org/x.bin",
        "https://a.org",
        "https://a.org:port/x.gguf",
        "https://[::1/x.gguf",
        "https://u:p@a.org/x.gguf",
        "user/model:a/b",
    ],
)
def test_what_is_no_reference_is_told_what_is_allowed(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"Allowed are|a name and a password"):
        read(text)


@pytest.mark.parametrize(
    "text", ["http://a.org/x.gguf", "evil.org/library/model", "localhost/a/b", "evil.org:8000/a/b", "a/b/c"]
)
def test_a_host_that_nobody_may_name_is_forbidden(text: str) -> None:
    with pytest.raises((Forbidden, InvalidRequest)):
        read(text)


def test_a_name_of_the_catalogue_comes_first_and_leads_nowhere_else_than_its_reference() -> None:
    catalogue = {"small": "hf.co/a/b:Q4_0", "circle": "circle"}

    assert read("small", catalogue) == Repository("huggingface", "a/b", "Q4_0")
    assert read("circle", catalogue) == Registered("library", "circle", "latest")


@given(st.text(max_size=80))
def test_anything_at_all_is_understood_or_refused_in_words(text: str) -> None:
    with contextlib.suppress(InvalidRequest, Forbidden):
        meant = read(text)
        assert ".." not in called(meant) or isinstance(meant, Link)


@pytest.mark.parametrize("text", ["A" * 64, "sha256:" + "0" * 64, " " + "f" * 64 + " "])
def test_a_checksum_is_taken_as_people_paste_it(text: str) -> None:
    found = checksum(text)
    assert found is not None
    assert len(found) == 64


@pytest.mark.parametrize("text", ["", "a" * 63, "g" * 64, "sha1:" + "a" * 40])
def test_what_is_no_checksum_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="64 digits"):
        checksum(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hf.co/a/b", "hf.co/a/b"),
        ("modelscope.cn/a/b:Q8_0", "modelscope.cn/a/b:Q8_0"),
        ("library/small:latest", "small"),
        ("user/small:1b", "user/small:1b"),
        ("https://a.org/My%20Model%20(1)-00001-of-00002.gguf", "My-Model-1"),
        ("https://a.org/.gguf", "model"),
    ],
)
def test_what_it_is_called_before_a_hub_was_asked(text: str, name: str) -> None:
    assert called(read(text)) == name
