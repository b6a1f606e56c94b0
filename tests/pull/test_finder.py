"""Where the hubs are, who named them, and who may see the token."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.config import Downloads
from edged.errors import ConfigError
from edged.pull.finder import Hubs, tokens
from edged.pull.hosts import origin_of

MIRROR = "http://mirror.lan:8000"


def test_without_a_word_the_hubs_are_where_they_are_for_everybody_and_named_by_nobody() -> None:
    hubs = Hubs.of(Downloads(), {})

    assert hubs == Hubs("https://huggingface.co", "https://modelscope.cn", "https://registry.ollama.ai")
    assert not any(hubs.named(Downloads()).has(url) for url in (hubs.huggingface, hubs.modelscope, hubs.ollama))


def test_the_configuration_comes_before_the_environment() -> None:
    environ = {"HF_ENDPOINT": MIRROR}

    assert Hubs.of(Downloads(), environ).huggingface == MIRROR
    assert Hubs.of(Downloads(huggingface="https://other.lan"), environ).huggingface == "https://other.lan"


def test_an_endpoint_of_the_owner_may_be_private_and_plain() -> None:
    settings = Downloads(ollama="http://10.0.0.1:5000", hosts=("nas.lan",))
    named = Hubs.of(settings, {"HF_ENDPOINT": MIRROR}).named(settings)

    assert named.has(f"{MIRROR}/a/b")
    assert named.has("http://10.0.0.1:5000/v2/x")
    assert named.has("http://nas.lan/x")
    assert not named.has("http://10.0.0.1/v2/x")


def test_a_token_is_for_the_hub_that_is_asked_and_comes_from_the_nearest_place(tmp_path: Path) -> None:
    (tmp_path / "hf_token").write_text(" hf_credential\n")
    (tmp_path / "own").write_text("hf_own")
    hubs = Hubs.of(Downloads(), {})
    environ = {"HF_TOKEN": "hf_environment", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    origin = origin_of(hubs.huggingface)

    assert tokens(Downloads(token_file=tmp_path / "own"), hubs, environ) == {origin: "hf_own"}
    assert tokens(Downloads(), hubs, environ) == {origin: "hf_credential"}
    assert tokens(Downloads(), hubs, {"HF_TOKEN": "hf_environment"}) == {origin: "hf_environment"}
    assert tokens(Downloads(), hubs, {"CREDENTIALS_DIRECTORY": str(tmp_path / "none")}) == {}


def test_a_token_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "two").write_text("a\nb")
    for file in (tmp_path / "none", tmp_path, tmp_path / "two"):
        with pytest.raises(ConfigError, match="token"):
            tokens(Downloads(token_file=file), Hubs.of(Downloads(), {}), {})
