"""Where the hubs are, who named them, and who may see the token."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.config import Downloads
from edged.errors import ConfigError
from edged.pull.finder import Hubs
from edged.pull.hosts import Origin, origin_of
from edged.secret import Secret

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


def token_of(settings: Downloads, environ: dict[str, str]) -> dict[Origin, str]:
    """Who may see which token, revealed."""
    return {origin: token.reveal() for origin, token in Hubs.of(settings, environ).tokens().items()}


def test_a_token_is_for_the_hub_that_is_asked_and_comes_from_the_nearest_place(tmp_path: Path) -> None:
    for name, text in (("hf_token", " hf_credential\n"), ("own", "hf_own")):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(text)
    everything = {"HF_TOKEN": "hf_environment", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    origin = origin_of("https://huggingface.co")
    own = Downloads(token_file=tmp_path / "own")

    assert token_of(Downloads(token=Secret("hf_set"), token_file=own.token_file), dict(everything)) == {
        origin: "hf_set"
    }
    assert token_of(own, dict(everything)) == {origin: "hf_own"}
    assert token_of(Downloads(), dict(everything)) == {origin: "hf_credential"}
    assert token_of(Downloads(), {"HF_TOKEN": "hf_environment"}) == {origin: "hf_environment"}
    assert token_of(Downloads(huggingface=MIRROR), {"HF_TOKEN": "hf_x"}) == {origin_of(MIRROR): "hf_x"}
    assert token_of(Downloads(), {"CREDENTIALS_DIRECTORY": str(tmp_path / "none"), "HF_TOKEN": " "}) == {}


def test_a_token_in_the_environment_is_taken_out_of_it_even_where_another_counts(tmp_path: Path) -> None:
    environ = {"HF_TOKEN": "hf_environment", "HF_ENDPOINT": MIRROR}
    Hubs.of(Downloads(token=Secret("hf_set")), environ)

    assert environ == {"HF_ENDPOINT": MIRROR}


def test_a_token_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "two").touch(mode=0o600)
    (tmp_path / "two").write_text("a\nb")
    for file in (tmp_path / "none", tmp_path, tmp_path / "two"):
        with pytest.raises(ConfigError, match=f"{file}: .*secret"):
            Hubs.of(Downloads(token_file=file), {})


def test_so_does_one_that_others_can_read(tmp_path: Path) -> None:
    file = tmp_path / "hf_token"
    file.write_text("hf_token")
    file.chmod(0o644)

    for settings, environ in (
        (Downloads(token_file=file), {}),
        (Downloads(), {"CREDENTIALS_DIRECTORY": str(tmp_path)}),
    ):
        with pytest.raises(ConfigError, match=f"chmod 600 {file}"):
            Hubs.of(settings, environ)
