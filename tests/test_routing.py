"""Which model a name means."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edged.chat import ChatRequest, EmbedRequest, MadeFor, RerankRequest
from edged.config import Routing
from edged.errors import CapabilityMissing, ModelInvalid, ModelNotFound, ModelUnsupported
from edged.gguf.header import Gguf
from edged.gguf.tensors import Tensors
from edged.local.fit import Ease
from edged.routing import Route, Router, default_model, largest, resolve
from edged.store import ModelFile
from tests.fakes import ScriptedBackend

INSTALLED = ["qwen", "gpt-oss", "guide"]
ALIASES = Routing().aliases
GIB = 2**30


def file(name: str, size_bytes: int, made_for: MadeFor | None = "words") -> ModelFile:
    header = Gguf(made_for, "llama", {}, has_template=True, tensors=Tensors(count=1)) if made_for else None
    return ModelFile(name, Path(f"/{name}.gguf"), size_bytes, 0, made_for, header)


def router_of(backend: ScriptedBackend, files: Sequence[ModelFile], default: str) -> Router:
    return Router(backend, lambda: files, ALIASES, lambda installed: default, lambda able: largest(able, within(GIB)))


@pytest.mark.parametrize(
    ("wanted", "aliases", "route"),
    [
        (None, ALIASES, Route("qwen", "default")),
        ("", ALIASES, Route("qwen", "default")),
        ("guide", ALIASES, Route("guide", "named")),
        ("guide:latest", ALIASES, Route("guide", "named")),
        # What is installed wins over a pattern that it happens to match.
        ("gpt-oss", ALIASES, Route("gpt-oss", "named")),
        ("gpt-4o", ALIASES, Route("qwen", "alias")),
        ("claude-sonnet", ALIASES, Route("qwen", "alias")),
        ("gemini-2.5-flash", ALIASES, Route("qwen", "alias")),
        ("mine", {"mine": "guide", "*": "default"}, Route("guide", "alias")),
        ("other", {"mine": "guide", "*": "default"}, Route("qwen", "alias")),
        # A tag is a part of the name, but `:latest`, which says nothing.
        ("llama3.2:1b", {}, Route("llama3.2:1b", "named")),
        ("hf.co/org/repo-GGUF:Q4_0", {}, Route("hf.co/org/repo-GGUF:Q4_0", "named")),
        ("smollm", {}, Route("smollm:latest", "named")),
        ("smollm:latest", {}, Route("smollm:latest", "named")),
        ("gpt-4o:latest", {"gpt-4o": "guide"}, Route("guide", "alias")),
        ("gpt-4o", {"gpt-*": "guide:latest"}, Route("guide", "alias")),
        ("gpt-4o", {"gpt-*": "llama3.2:1b"}, Route("llama3.2:1b", "alias")),
        ("mistral:7b", {"*:7b": "llama3.2:1b"}, Route("llama3.2:1b", "alias")),
    ],
)
def test_names(wanted: str | None, aliases: Mapping[str, str], route: Route) -> None:
    tagged = ["llama3.2:1b", "hf.co/org/repo-GGUF:Q4_0", "smollm:latest"]
    assert resolve(wanted, [*INSTALLED, *tagged], aliases, lambda: "qwen") == route


def test_an_alias_to_a_model_that_is_not_there_says_that_it_was_an_alias() -> None:
    with pytest.raises(ModelNotFound, match=r"named 'gone' here \(\[routing\] aliases makes it answer for 'gpt-4o'\)"):
        resolve("gpt-4o", INSTALLED, {"gpt-*": "gone"}, lambda: "qwen")
    with pytest.raises(ModelNotFound, match=r"named 'gone' here \(\[models\] default\)"):
        resolve(None, INSTALLED, {}, lambda: "gone")


@pytest.mark.parametrize("wanted", ["qwenn", "GPT-4o", "default", "../guide", "x" * 300])
def test_an_unknown_name_is_not_found_and_told_what_there_is(wanted: str) -> None:
    with pytest.raises(ModelNotFound, match="Installed: qwen, gpt-oss, guide") as refused:
        resolve(wanted, INSTALLED, ALIASES, lambda: "qwen")

    assert refused.value.param == "model"


def within(available_bytes: int) -> Callable[[ModelFile], Ease]:
    """Files fit as they are, and up to twice as large ones with less."""
    return lambda file: Ease((file.size_bytes < available_bytes) + (file.size_bytes < 2 * available_bytes))


@pytest.mark.parametrize(
    ("configured", "available_bytes", "expected"),
    [
        ("mine", 0, "mine"),
        (None, 8 * GIB, "large"),
        (None, 4 * GIB, "small"),
        (None, GIB, "guide"),
        (None, 0, "guide"),
    ],
)
def test_the_default_is_the_largest_that_fits(configured: str | None, available_bytes: int, expected: str) -> None:
    installed = [file("small", 2 * GIB), file("large", 5 * GIB), file("guide", 3 * 2**20)]

    assert default_model(configured, installed, within(available_bytes)) == expected


@pytest.mark.parametrize("made_for", ["vectors", "scores", "part", None])
def test_what_cannot_talk_is_no_default_however_large(made_for: MadeFor | None) -> None:
    other, small, guide = file("other", 3 * GIB, made_for), file("small", GIB), file("guide", 3 * 2**20)

    assert default_model(None, [other, small, guide], within(8 * GIB), resident=["other"]) == "small"
    assert default_model(None, [other, guide], within(8 * GIB)) == "guide"
    assert default_model("other", [other, small, guide], within(8 * GIB)) == "other", "the owner knows best"


def test_a_small_model_in_memory_is_no_default_while_a_larger_one_would_fit_in_its_place() -> None:
    small, large = file("small", 2 * GIB), file("large", 5 * GIB)

    assert default_model(None, [small, large], within(8 * GIB), resident=["small"]) == "large"
    assert default_model(None, [small, large], within(4 * GIB), resident=["small"]) == "small"
    assert default_model(None, [small, large], within(0), resident=["small"]) == "small", "it is there, so it fits"


async def test_a_named_model_is_found_without_asking_which_one_is_the_default_and_never_on_the_loop() -> None:
    asked, loop_thread = list[int](), threading.get_ident()

    def default(_installed: Sequence[ModelFile]) -> str:
        asked.append(threading.get_ident())
        return "guide"

    router = Router(ScriptedBackend(), lambda: [file("guide", 1)], ALIASES, default, lambda able: None)
    assert await router.route("guide") == Route("guide", "named")
    assert asked == []
    assert await router.route(None) == Route("guide", "default")
    assert len(asked) == 1
    assert loop_thread not in asked


async def test_a_router_asks_for_the_model_that_was_meant_and_says_why() -> None:
    backend = ScriptedBackend()
    router = router_of(backend, [file("qwen", 1), file("guide", 1)], "qwen")

    completion = await router.complete(ChatRequest("1", model="gpt-4o"))

    assert backend.requests[0].model == "qwen"
    assert completion.admission.route == "alias"


async def test_a_router_asks_nobody_for_a_model_that_is_not_there() -> None:
    backend = ScriptedBackend()
    router = router_of(backend, [file("guide", 1)], "guide")

    with pytest.raises(ModelNotFound):
        await router.complete(ChatRequest("1", model="nobody"))
    assert backend.requests == []


async def test_a_router_asks_nobody_for_a_model_whose_file_is_damaged() -> None:
    """Before another one leaves memory for it."""
    backend = ScriptedBackend()
    files = [replace(file("half", 1, None), problem="it is cut off."), file("guide", 1)]
    router = router_of(backend, files, "guide")

    with pytest.raises(ModelInvalid, match=r"The file of model half cannot be loaded: it is cut off\."):
        await router.complete(ChatRequest("1", model="half"))
    assert backend.requests == []


async def test_what_is_let_go_is_found_whatever_became_of_its_file() -> None:
    files = [replace(file("half", 1, None), problem="it is cut off."), file("guide", 1)]
    router = router_of(ScriptedBackend(), files, "half")

    assert await router.meant("half:latest") == await router.meant(None) == await router.meant("gpt-4o") == "half"
    assert await router.meant("gone", ["gone", "guide"]) == "gone"
    with pytest.raises(ModelNotFound):
        await router.meant("gone", ["guide"])


async def test_vectors_and_scores_are_made_by_a_model_that_can() -> None:
    backend = ScriptedBackend()
    files = [file("qwen", 1), file("judge", 1, "scores"), file("guide", 1)]
    router = router_of(backend, files, "qwen")

    vectors = await router.embed(EmbedRequest("1", ("text",), "gpt-4o"))
    scores = await router.rerank(RerankRequest("2", "query", ("document",)))

    assert [request.model for request in backend.measured] == ["qwen", "judge"]
    assert (vectors.admission.route, scores.admission.route) == ("alias", "able")


async def test_a_model_that_cannot_is_refused_before_anybody_is_asked_and_one_that_can_is_named() -> None:
    backend = ScriptedBackend()
    router = router_of(backend, [file("vectors", 1, "vectors"), file("guide", 1)], "guide")

    with pytest.raises(CapabilityMissing, match=r"made for vectors and writes no text\..*able to: guide\."):
        await router.complete(ChatRequest("1", model="vectors"))
    with pytest.raises(CapabilityMissing, match="guide is no reranker"):
        await router.rerank(RerankRequest("2", "query", ("document",)))
    assert (backend.requests, backend.measured) == ([], [])


async def test_a_model_that_came_later_than_this_edged_is_refused_as_that() -> None:
    backend = ScriptedBackend()
    files = [replace(file("new", 1), problem="it is new.", is_unsupported=True), file("guide", 1)]

    with pytest.raises(ModelUnsupported, match=r"The file of model new cannot be loaded: it is new\."):
        await router_of(backend, files, "guide").complete(ChatRequest("1", model="new"))
    assert backend.requests == []
