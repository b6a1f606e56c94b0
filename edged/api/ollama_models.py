"""The models in Ollama's shapes: what is installed, what is in memory, what one is; copying, deleting.

Shapes: docs/api.md of ollama/ollama, `ListModelResponse`, `ProcessModelResponse`, `ShowResponse`, `ModelDetails` in its
api/types.go. A model without a tag is listed as `NAME:latest`, which is how clients look for it, Home Assistant among
them. Pure functions: whoever calls them knows the store and the pool.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

from pydantic import Field, StringConstraints

import edged
from edged.api.body import Strict
from edged.chat import Ability, ModelCard
from edged.errors import InvalidRequest, ModelNotFound, UnsupportedParameter
from edged.gguf.about import about
from edged.gguf.header import Gguf

# Which Ollama's API this is; programs compare it to know what they may ask for (`/api/version`).
API_VERSION = "0.33.0"
# How Ollama writes "for good": the longest duration that it knows, from now on (`Duration` in its api/types.go).
_FOR_GOOD_S = (2**63 - 1) / 1e9
_NANO = 10**9
# `Capability` in its types/model/capability.go.
_CAPABILITIES: dict[Ability, str] = {
    "completion": "completion",
    "tools": "tools",
    "vision": "vision",
    "reasoning": "thinking",
    "infill": "insert",
    "embeddings": "embedding",
}
# What there is in Ollama and not here, and what to do instead; by method and path.
REFUSED = {
    (
        "POST",
        "/api/create",
    ): "Models are not made here. Send a GGUF file to /edged/v1/imports, or type: edged import FILE",
    ("POST", "/api/push"): "Models are not published from here. Copy the file from the models folder.",
    ("POST", "/api/blobs/{digest}"): "Files are taken at /edged/v1/imports, where they can be sent in portions.",
    ("HEAD", "/api/blobs/{digest}"): "Files are taken at /edged/v1/imports, where they can be sent in portions.",
}

_Name = Annotated[str, StringConstraints(max_length=256)]


@dataclass(frozen=True, slots=True)
class Running:
    """A model in memory. `expires_s` is the Unix time at which it leaves by itself; None: it stays."""

    card: ModelCard
    memory_bytes: int
    gpu_bytes: int = 0
    expires_s: float | None = None


class NamedBody(Strict):
    """A body that names a model; `name` is what the field was called before."""

    model: _Name = ""
    name: _Name = ""

    def found(self, installed: Collection[str]) -> str:
        """Which of `installed` is meant, with or without `:latest`. Raises `InvalidRequest`, `ModelNotFound`."""
        return find(self.model or self.name, installed)


class ShowBody(NamedBody):
    """`POST /api/show`. Accepted are values that change nothing of what is shown."""

    verbose: bool = False
    system: str = ""
    template: str = ""
    options: Annotated[dict[str, Any], Field(max_length=0, default_factory=dict)]

    def check(self) -> None:
        """Raises `UnsupportedParameter`."""
        if self.verbose:
            raise UnsupportedParameter(
                "verbose is not supported: a model's vocabulary and tensors are not shown. Leave it out.",
                param="verbose",
            )
        for field in ("system", "template"):
            if getattr(self, field):
                raise UnsupportedParameter(f"{field} is not supported here; leave it out.", param=field)


class DeleteBody(NamedBody):
    """`DELETE /api/delete`."""


class CopyBody(Strict):
    """`POST /api/copy`."""

    source: _Name
    destination: _Name

    def names(self, installed: Collection[str]) -> tuple[str, str]:
        """The model and its further name, both without `:latest`. Raises `InvalidRequest`, `ModelNotFound`."""
        destination = self.destination.removesuffix(":latest")
        if not destination:
            raise InvalidRequest("The destination is empty.", param="destination")
        return find(self.source, installed, "source"), destination


def find(name: str, installed: Collection[str], param: str = "model") -> str:
    """Which of `installed` is called `name`, with or without `:latest`. Raises `InvalidRequest`, `ModelNotFound`."""
    if not name:
        raise InvalidRequest(f"{param} is required.", param=param)
    if (bare := name.removesuffix(":latest")) in installed:
        return bare
    raise ModelNotFound(f"model {name!r} not found. Installed: {', '.join(installed)}.", param=param)


def tagged(name: str) -> str:
    """A model's name as Ollama lists it: always with a tag."""
    return name if ":" in name else f"{name}:latest"


def version_body() -> dict[str, Any]:
    """`GET /api/version`: the version of the API, because that is what programs ask for, and beside it our own."""
    return {"version": API_VERSION, "edged": edged.__version__}


def tags_body(cards: Sequence[ModelCard], headers: Mapping[str, Gguf | None]) -> dict[str, Any]:
    """`GET /api/tags`: everything installed. `headers` has what the files say, by the models' names."""
    return {"models": [_model_body(card, headers.get(card.name)) for card in cards]}


def ps_body(running: Sequence[Running], headers: Mapping[str, Gguf | None], now_s: float) -> dict[str, Any]:
    """`GET /api/ps`: everything in memory."""
    return {"models": [_running_body(model, headers.get(model.card.name), now_s) for model in running]}


def show_body(card: ModelCard, header: Gguf | None) -> dict[str, Any]:
    """`POST /api/show`. What the chat template speaks of the model can do, in memory or not, as in Ollama."""
    template = header.template if header else ""
    return {
        "modelfile": f"# A GGUF file, no Modelfile\nFROM {tagged(card.name)}\n",
        "parameters": "",
        "template": template,
        "license": card.about.license,
        "details": _details(header),
        "model_info": _model_info(header),
        "capabilities": _capabilities(card),
        "modified_at": rfc3339(card.modified_s * _NANO),
    }


def rfc3339(unix_ns: int) -> str:
    """A time as Ollama writes it: UTC, to the nanosecond."""
    seconds, rest = divmod(unix_ns, _NANO)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


def digest_of(card: ModelCard) -> str:
    """What tells this file from others and from itself before it changed: a hash of its name, size and time.

    Ollama's is the hash of a manifest, which no client can check either; all that they rely on is that it changes with
    the model, and has at least twelve characters (`ListHandler` in its cmd/cmd.go shows so many).
    """
    return sha256(f"{card.origin} {card.name} {card.size_bytes} {card.modified_s}".encode()).hexdigest()


def _capabilities(card: ModelCard) -> list[str]:
    """What programs look for before they offer tools or thinking (`Capabilities` in Ollama's server/images.go)."""
    return [_CAPABILITIES[able] for able in card.abilities if able in _CAPABILITIES]


def _model_body(card: ModelCard, header: Gguf | None) -> dict[str, Any]:
    return {
        "name": tagged(card.name),
        "model": tagged(card.name),
        "modified_at": rfc3339(card.modified_s * _NANO),
        "size": card.size_bytes,
        "digest": digest_of(card),
        "details": _details(header),
        "capabilities": _capabilities(card),
    }


def _running_body(running: Running, header: Gguf | None, now_s: float) -> dict[str, Any]:
    card = running.card
    expires_s = running.expires_s if running.expires_s is not None else now_s + _FOR_GOOD_S
    body = {
        "name": tagged(card.name),
        "model": tagged(card.name),
        "size": running.memory_bytes,
        "digest": digest_of(card),
        "details": _details(header),
        "expires_at": rfc3339(int(expires_s) * _NANO),
        "size_vram": running.gpu_bytes,
    }
    return body if card.context_tokens is None else body | {"context_length": card.context_tokens}


def _details(header: Gguf | None) -> dict[str, Any]:
    """What a file says of itself; empty, as in Ollama, where it says nothing."""
    said = about(header)
    width = header.entries.get(f"{header.architecture}.embedding_length") if header else None
    sizes = {"context_length": header.context_tokens if header else None, "embedding_length": width}
    return {
        "parent_model": "",
        "format": "gguf",
        "family": said.architecture,
        "families": [said.architecture] if said.architecture else [],
        "parameter_size": said.size_label,
        "quantization_level": said.quantization,
    } | {key: size for key, size in sizes.items() if size}


def _model_info(header: Gguf | None) -> dict[str, Any]:
    """The file's entries as they are, without its name, as in Ollama, and without lists and long texts."""
    said: Mapping[str, int | float | str] = header.entries if header else {}
    hidden = ("general.name", "tokenizer.chat_template")
    return {
        key: value
        for key, value in said.items()
        if key not in hidden and not (isinstance(value, float) and not math.isfinite(value))
    }
