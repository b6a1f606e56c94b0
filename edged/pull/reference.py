"""What a person types to get a model becomes where to look for it. Pure; nobody is asked anything here.

    qwen3-0.6b                         a name of the catalogue
    hf.co/ORG/REPO[:QUANT]             a repository of Hugging Face (also huggingface.co/…); QUANT may be a file's name
    modelscope.cn/ORG/REPO[:QUANT]     a repository of ModelScope
    https://HOST/PATH/FILE.gguf        one file; of a split model the first
    llama3.2:1b, user/model:tag        names in Ollama's registry (types/model/name.go of Ollama), library/ left out

A request may name no host but those above and any that speaks https; what else may be reached, the owner of the device
says (`[downloads]`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from edged.errors import Forbidden, InvalidRequest

_LONGEST = 2048  # characters; a link that is signed may be long
_HUBS: dict[str, Literal["huggingface", "modelscope"]] = {
    "hf.co": "huggingface",
    "huggingface.co": "huggingface",
    "modelscope.cn": "modelscope",
    "www.modelscope.cn": "modelscope",
}
_REGISTRIES = ("registry.ollama.ai", "ollama.com")
# As Hugging Face names them (huggingface_hub, utils/_validators.py): word characters, dots, dashes; 96 characters.
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,127}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ALLOWED = (
    "Allowed are a name of the catalogue, hf.co/ORG/REPO[:QUANT], modelscope.cn/ORG/REPO[:QUANT], "
    "https://HOST/FILE.gguf, and a name in Ollama's registry such as llama3.2:1b."
)


@dataclass(frozen=True, slots=True)
class Repository:
    """Files in a repository of a hub; `wanted` is a quantisation, a file's name, or empty for the usual one."""

    hub: Literal["huggingface", "modelscope"]
    repository: str
    wanted: str = ""


@dataclass(frozen=True, slots=True)
class Registered:
    """A model in Ollama's registry."""

    namespace: str
    model: str
    tag: str

    @property
    def name(self) -> str:
        """What Ollama calls it: without what goes without saying."""
        space = "" if self.namespace == "library" else f"{self.namespace}/"
        return f"{space}{self.model}" + ("" if self.tag == "latest" else f":{self.tag}")


@dataclass(frozen=True, slots=True)
class Link:
    """A file somewhere."""

    url: str


Reference: TypeAlias = Repository | Registered | Link


def parse(text: str, catalogue: Callable[[str], str | None], is_named: Callable[[str], bool]) -> Reference:
    """What `text` refers to.

    `catalogue` gives the reference behind a name of the catalogue, or None; `is_named` says whether the owner has named
    the host of a URL. Raises `InvalidRequest`, and `Forbidden` for a host that nobody may name in a request.
    """
    text = text.strip()
    if not text or len(text) > _LONGEST or not text.isprintable():
        raise _wrong(text, "is no reference to a model")
    listed = catalogue(text)
    if listed is not None:
        return parse(listed, lambda _: None, is_named)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _named(text)
    if scheme.lower() == "https" and _is_repository(rest):
        return _named(rest.rstrip("/"))
    return _link(text, is_named)


def checksum(text: str | None) -> str | None:
    """A SHA-256 as somebody typed it. Raises `InvalidRequest`."""
    if text is None:
        return None
    plain = text.strip().lower().removeprefix("sha256:")
    if not _SHA256.fullmatch(plain):
        raise InvalidRequest(f"{text[:80]!r} is no SHA-256: 64 digits of 0-9 and a-f.", param="sha256")
    return plain


def _is_repository(rest: str) -> bool:
    """Whether a pasted address is that of a repository's page."""
    parts = rest.rstrip("/").split("/")
    return len(parts) == 3 and parts[0].lower() in _HUBS


def _named(text: str) -> Reference:
    path, _, tag = text.partition(":")
    parts = path.split("/")
    if tag and not _TAG.fullmatch(tag):
        raise _wrong(text, "has no tag as they are")
    if ":" in text and not tag:
        raise _wrong(text, "ends with a colon")
    if not all(_PART.fullmatch(part) and ".." not in part for part in parts) or ".." in tag:
        raise _wrong(text, "is no reference to a model")
    host = parts[0].lower()
    if host in _HUBS:
        if len(parts) != 3:
            raise _wrong(text, f"names no repository: {parts[0]}/ORG/REPO has two slashes")
        return Repository(_HUBS[host], f"{parts[1]}/{parts[2]}", tag)
    if host in _REGISTRIES and len(parts) > 1:
        parts = parts[1:]
    if len(parts) > 2:
        raise Forbidden(f"{parts[0][:80]} is not asked for models. {_ALLOWED}", param="model")
    if "/" in tag:
        raise _wrong(text, "has a slash in its tag")
    namespace = parts[0] if len(parts) == 2 else "library"
    return Registered(namespace, parts[-1], tag or "latest")


def _link(text: str, is_named: Callable[[str], bool]) -> Link:
    try:
        url = urlsplit(text)
        host, _port = url.hostname, url.port  # a port that is none raises only here
    except ValueError:
        raise _wrong(text, "is no address") from None
    if url.scheme not in ("https", "http") or not host:
        raise _wrong(text, "is no https address")
    if url.username is not None or url.password is not None:
        raise InvalidRequest("An address with a name and a password in it is not fetched.", param="model")
    plain = url._replace(fragment="").geturl()
    if url.scheme == "http" and not is_named(plain):
        raise Forbidden(
            f"{text[:160]} is plain http, where anybody on the way can change the file. Use https, or have the owner "
            f"name {host} in [downloads] hosts.",
            param="model",
        )
    if not unquote(url.path).lower().endswith(".gguf"):
        raise _wrong(text, "does not end with .gguf")
    return Link(plain)


def _wrong(text: str, what: str) -> InvalidRequest:
    return InvalidRequest(f"{text[:160]!r} {what}. {_ALLOWED}", param="model")
