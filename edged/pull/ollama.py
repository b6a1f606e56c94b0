"""Models in Ollama's registry.

    GET /v2/NAMESPACE/MODEL/manifests/TAG      layers with media type, digest and size
    GET /v2/NAMESPACE/MODEL/blobs/DIGEST       a layer, after redirects

Source: Ollama's server/images.go (`PullModel`, `pullModelManifest`, the media types in `GetModel`), server/download.go,
types/model/name.go. Taken are the model's layer and the first line of its licence. Left are the layers `template`,
`params`, `system` and `messages`: edged lays conversations out by the template inside of the model's own file, which is
the one that its makers wrote, and settings are the request's; and `projector`, as long as there is no vision. A model
that needs an adapter, or is not one GGUF file, is refused: it would be another one without.
"""

from __future__ import annotations

from pydantic import Field

from edged.errors import EdgedError, ModelInvalid
from edged.plain import plain
from edged.pull.found import Answer, Found, Remote, license_of
from edged.pull.hosts import origin_of
from edged.pull.reference import Registered
from edged.pull.web import Web

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_LAYER = "application/vnd.ollama.image."
_MOST_LICENSE_BYTES = 2**18


class _Layer(Answer):
    mediaType: str = Field(pattern=r"^[!-~]{1,200}$")
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    size: int = Field(ge=0)

    @property
    def kind(self) -> str:
        """The last word of its media type."""
        return self.mediaType.partition(";")[0].removeprefix(_LAYER)

    @property
    def sha256(self) -> str:
        return self.digest.removeprefix("sha256:")


class _Manifest(Answer):
    layers: list[_Layer]


async def find(web: Web, registry: str, wanted: Registered) -> Found:
    """The model's layer. Raises `ModelNotFound`, `ProviderAuth`, `ProviderUnavailable`, `ModelInvalid`."""
    base, host = f"{registry.rstrip('/')}/v2/{wanted.namespace}/{wanted.model}", origin_of(registry).host
    manifest = _Manifest.read(await web.json(f"{base}/manifests/{wanted.tag}", _MANIFEST), host)
    models = [layer for layer in manifest.layers if layer.kind == "model"]
    foreign = [layer.kind for layer in manifest.layers if layer.kind in ("adapter", "tensor")]
    if len(models) != 1 or foreign:
        parts = plain(", ".join(dict.fromkeys(layer.kind for layer in manifest.layers))) or "nothing"
        raise ModelInvalid(f"{wanted.name} in {host} is not one GGUF file but {parts}.")
    (model,) = models
    return Found(
        name=wanted.name,
        pieces=(Remote(f"{base}/blobs/{model.digest}", model.size, model.sha256, wanted.name),),
        source=wanted.name,
        revision=model.digest,
        license=await _license(web, base, manifest),
        left=tuple(sorted({layer.kind for layer in manifest.layers} - {"model", "license"})),
    )


async def _license(web: Web, base: str, manifest: _Manifest) -> str:
    """The first line of the first licence; a licence that cannot be read is no reason to do without the model."""
    texts = [layer for layer in manifest.layers if layer.kind == "license" and layer.size <= _MOST_LICENSE_BYTES]
    for layer in texts[:1]:
        try:
            body = await web.body(f"{base}/blobs/{layer.digest}", "text/plain", _MOST_LICENSE_BYTES)
        except EdgedError:
            return ""
        return license_of(body.decode(errors="replace"))
    return ""
