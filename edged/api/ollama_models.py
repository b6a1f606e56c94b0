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
from edged.chat import Ability, MadeFor, ModelCard
from edged.errors import InvalidRequest, ModelNotFound, UnsupportedParameter
from edged.gguf.header import Gguf
from edged.speech.abilities import abilities

# Which Ollama's API this is; programs compare it to know what they may ask for (`/api/version`).
API_VERSION = "0.33.0"
# How Ollama writes "for good": the longest duration that it knows, from now on (`Duration` in its api/types.go).
_FOR_GOOD_S = (2**63 - 1) / 1e9
_NANO = 10**9
# `llama_ftype` in include/llama.h of llama.cpp: what most of the tensors are.
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0", 41: "Q2_0",
}  # fmt: skip
_GUESSED = 1024  # a bit that says that whoever wrote the type had to guess it
_CAPABILITIES: dict[Ability, str] = {
    "completion": "completion",
    "tools": "tools",
    "reasoning": "thinking",
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


class _NamedBody(Strict):
    """A body that names a model; `name` is what the field was called before."""

    model: _Name = ""
    name: _Name = ""

    def found(self, installed: Collection[str]) -> str:
        """Which of `installed` is meant, with or without `:latest`. Raises `InvalidRequest`, `ModelNotFound`."""
        return find(self.model or self.name, installed)


class ShowBody(_NamedBody):
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


class PullBody(_NamedBody):
    """`POST /api/pull`. What is left of a registry's account is refused, because it would be for nothing."""

    stream: bool = True
    insecure: bool = False
    # Ollama ignores them by now; an account's secret would stand in a log for nothing.
    username: Annotated[str, StringConstraints(max_length=0)] = ""
    password: Annotated[str, StringConstraints(max_length=0)] = ""

    def reference(self) -> str:
        """What is to be fetched. Raises `InvalidRequest`, `UnsupportedParameter`."""
        if self.insecure:
            raise UnsupportedParameter(
                "insecure is not supported: who may be asked without encryption is for the owner to say ([downloads] "
                "hosts). Leave it out.",
                param="insecure",
            )
        if not (name := self.model or self.name):
            raise InvalidRequest("model is required.", param="model")
        return name


class DeleteBody(_NamedBody):
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
        "license": str(header.entries.get("general.license", "")) if header else "",
        "details": _details(header),
        "model_info": _model_info(header),
        "capabilities": _capabilities(card.made_for, template),
        "modified_at": rfc3339(card.modified_s * _NANO),
    }


def pulled_body() -> dict[str, Any]:
    """`POST /api/pull` for a model that is there: the last thing that any pull says."""
    return {"status": "success"}


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


def _capabilities(made_for: MadeFor | None, template: str) -> list[str]:
    """What programs look for before they offer tools or thinking (`Capabilities` in Ollama's server/images.go)."""
    return [_CAPABILITIES[able] for able in abilities(made_for, template) if able in _CAPABILITIES]


def _model_body(card: ModelCard, header: Gguf | None) -> dict[str, Any]:
    return {
        "name": tagged(card.name),
        "model": tagged(card.name),
        "modified_at": rfc3339(card.modified_s * _NANO),
        "size": card.size_bytes,
        "digest": digest_of(card),
        "details": _details(header),
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
    said: Mapping[str, int | float | str] = header.entries if header else {}
    family = header.architecture if header else ""
    file_type = said.get("general.file_type")
    return {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family] if family else [],
        "parameter_size": str(said.get("general.size_label", "")),
        "quantization_level": _FILE_TYPES.get(file_type & ~_GUESSED, "unknown") if isinstance(file_type, int) else "",
    }


def _model_info(header: Gguf | None) -> dict[str, Any]:
    """The file's entries as they are, without its name, as in Ollama, and without lists and long texts."""
    said: Mapping[str, int | float | str] = header.entries if header else {}
    hidden = ("general.name", "tokenizer.chat_template")
    return {
        key: value
        for key, value in said.items()
        if key not in hidden and not (isinstance(value, float) and not math.isfinite(value))
    }
