"""Which model answers a request: a pure choice, and the Backend that makes it.

A request that names nobody gets the default model, or where that cannot do what is asked, one that can
(`demands.py`). A name that is installed means that model. Otherwise the owner's aliases are tried, so that a program
with `gpt-4o` written into it works unchanged; the answer names who really spoke.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from edged.chat import ChatRequest, EmbedRequest, RerankRequest
from edged.completion import Backend, Completion, Counted, Embeddings, Ranking
from edged.demands import SCORES, VECTORS, Best, Demands, check, chosen, demands_of
from edged.errors import ModelNotFound
from edged.local.fit import Ease
from edged.store import GUIDE, ModelFile, unusable

_DEFAULT = "default"
# Ollama's clients put it behind every name that has no tag.
_TAG = ":latest"
# What led to a model that is not there.
_WHY = {
    "default": " ([models] default)",
    "alias": " ([routing] aliases makes it answer for {!r})",
}


@dataclass(frozen=True, slots=True)
class Route:
    """The model that answers, and why: `named`, `default`, `alias`, or `able`, where the default one is not."""

    model: str
    reason: str
    is_open: bool = field(default=False, compare=False)  # nobody asked for this very model


def default_model(
    configured: str | None,
    installed: Sequence[ModelFile],
    ease: Callable[[ModelFile], Ease],
    resident: Collection[str] = (),
) -> str:
    """The configured default, else the largest model for words that fits into memory as wished, else the largest that
    fits with less, else `guide`.

    `ease` judges against the room that there were without those in memory, or the default would change with whoever
    was asked last; a resident model fits at least somehow, as it is there. A model for vectors or scores, a part of
    one, and a file that cannot be read would refuse every chat.
    """
    if configured is not None:
        return configured
    found = largest([file for file in installed if file.made_for == "words"], ease, resident)
    return found.name if found else GUIDE


def largest(
    files: Sequence[ModelFile], ease: Callable[[ModelFile], Ease], resident: Collection[str] = ()
) -> ModelFile | None:
    """The largest of `files` that fits into memory as wished, else the largest that fits with less, where any does."""
    least = {name: Ease.LOWERED for name in resident}
    eases = {file.name: max(ease(file), least.get(file.name, Ease.NOT_AT_ALL)) for file in files}
    fitting = [file for file in files if eases[file.name]]
    return max(fitting, key=lambda file: (eases[file.name], file.size_bytes), default=None)


def resolve(
    wanted: str | None, installed: Sequence[str], aliases: Mapping[str, str], default: Callable[[], str]
) -> Route:
    """Who answers a request for `wanted`: one of `installed`; the `default` is asked for where it matters.

    Raises `ModelNotFound` with what there is.
    """
    route = _route(wanted, installed, aliases, default)
    if route is None or route.model not in installed:
        named, why = (wanted, "") if route is None else (route.model, _WHY[route.reason].format(wanted))
        raise ModelNotFound(
            f"There is no model named {named!r} here{why}. Installed: {', '.join(installed)}.", param="model"
        )
    return route


def _route(
    wanted: str | None, installed: Sequence[str], aliases: Mapping[str, str], default: Callable[[], str]
) -> Route | None:
    if not wanted:
        meant = default()
        return Route(_installed(meant, installed) or meant, "default", is_open=True)
    if (found := _installed(wanted, installed)) is not None:
        return Route(found, "named")
    names = (wanted, wanted.removesuffix(_TAG))
    target = next((target for pattern, target in aliases.items() for name in names if fnmatchcase(name, pattern)), None)
    if target is None:
        return None
    meant = default() if target == _DEFAULT else target
    return Route(_installed(meant, installed) or meant, "alias", is_open=target == _DEFAULT)


def _installed(name: str, installed: Sequence[str]) -> str | None:
    """The model that `name` means: `:latest` says no more than no tag, on either side. None where there is none."""
    bare = name.removesuffix(_TAG)
    return next((known for known in (name, bare, bare + _TAG) if known in installed), None)


class Router:
    """Resolves the model's name, then asks the one backend that there is."""

    def __init__(
        self,
        local: Backend,
        installed: Callable[[], Sequence[ModelFile]],
        aliases: Mapping[str, str],
        default: Callable[[Sequence[ModelFile]], str],
        best: Best,
    ) -> None:
        """`default` names the default model among what is installed, `best` picks one of several that can.

        All three are asked in a thread, as they read files.
        """
        self._local = local
        self._installed = installed
        self._aliases = aliases
        self._default = default
        self._best = best

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer with the model that `request.model` means."""
        route = await self.route(request.model, demands_of(request))
        completion = await self._local.complete(replace(request, model=route.model))
        completion.admission = replace(completion.admission, route=route.reason)
        return completion

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Make vectors with the model that `request.model` means."""
        route = await self.route(request.model, VECTORS)
        found = await self._local.embed(replace(request, model=route.model))
        return replace(found, admission=replace(found.admission, route=route.reason))

    async def rerank(self, request: RerankRequest) -> Ranking:
        """Judge with the model that `request.model` means."""
        route = await self.route(request.model, SCORES)
        found = await self._local.rerank(replace(request, model=route.model))
        return replace(found, admission=replace(found.admission, route=route.reason))

    async def count(self, request: ChatRequest) -> Counted:
        """Count with the model that `request.model` means."""
        route = await self.route(request.model, demands_of(request))
        found = await self._local.count(replace(request, model=route.model))
        return replace(found, admission=replace(found.admission, route=route.reason))

    async def route(self, wanted: str | None, demands: Demands | None = None) -> Route:
        """Who answers a request for `wanted`, of which something is demanded; None: nothing in particular.

        Raises `ModelNotFound`, `CapabilityMissing` for a model that cannot, and `ModelInvalid` for a file that cannot
        be loaded, before another model leaves memory for it.
        """
        return await asyncio.to_thread(self._find, wanted, demands)

    async def meant(self, wanted: str | None, resident: Collection[str] = ()) -> str:
        """Which model `wanted` means, whatever is wrong with its file; a `resident` one may have none any more.

        Raises `ModelNotFound`.
        """
        return await asyncio.to_thread(self._meant, wanted, resident)

    def _meant(self, wanted: str | None, resident: Collection[str]) -> str:
        """The same; reads files."""
        files = self._installed()
        names = [file.name for file in files]
        gone = [name for name in resident if name not in names]
        return resolve(wanted, names + gone, self._aliases, lambda: self._default(files)).model

    def _find(self, wanted: str | None, demands: Demands | None) -> Route:
        """The same; reads files."""
        files = self._installed()
        route = resolve(wanted, [file.name for file in files], self._aliases, lambda: self._default(files))
        file = next(file for file in files if file.name == route.model)
        if demands is not None and route.is_open:
            file = chosen(file, files, demands, self._best)
            route = route if file.name == route.model else Route(file.name, "able")
        elif demands is not None:
            check(file, files, demands)
        if file.problem:
            raise unusable(file.name, file.problem, is_unsupported=file.is_unsupported)
        return route
