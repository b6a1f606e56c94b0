"""Repositories of Hugging Face, or of a mirror that speaks as it does.

    GET /api/models/ORG/REPO[/revision/COMMIT]?blobs=true     commit, files with size and LFS checksum, licence
    GET /ORG/REPO/resolve/COMMIT/FILE                         the file, after redirects

Source: huggingface_hub 2.4 (hf_api.py: `model_info` and `ModelInfo`; constants.py: `HUGGINGFACE_CO_URL_TEMPLATE`,
`HF_ENDPOINT`; utils/_http.py: `hf_raise_for_status`, which knows that 401 may mean that there is no such repository).
The commit is pinned: whoever pushes meanwhile changes nothing of what is being fetched.
"""

from __future__ import annotations

from urllib.parse import quote

from pydantic import Field

from edged.errors import ProviderAuth
from edged.pull.choice import Listed, choose, tag_of
from edged.pull.found import Answer, Found, Remote, license_of
from edged.pull.hosts import origin_of
from edged.pull.web import Web

_COMMIT = r"^[0-9a-f]{40}$"
_SHA256 = r"^[0-9a-f]{64}$"


class _Lfs(Answer):
    sha256: str = Field(pattern=_SHA256)
    size: int = Field(ge=0)


class _File(Answer):
    rfilename: str
    size: int | None = None
    lfs: _Lfs | None = None


class _Card(Answer):
    license: str | list[str] | None = None


class _Model(Answer):
    sha: str = Field(pattern=_COMMIT)
    siblings: list[_File]
    cardData: _Card | None = None


async def find(web: Web, endpoint: str, repository: str, wanted: str, revision: str = "") -> Found:
    """The files meant by `wanted`, as they are now or were in a commit.

    Raises `ModelNotFound`, `ProviderAuth`, `ProviderUnavailable`, `ModelInvalid`.
    """
    base, host = endpoint.rstrip("/"), origin_of(endpoint).host
    try:
        at = f"/revision/{revision}" if revision else ""
        body = await web.json(f"{base}/api/models/{repository}{at}?blobs=true")
    except ProviderAuth as error:
        raise ProviderAuth(
            f"{host} does not show {repository}: there is no such repository, or it is private or gated. Where it is "
            f"gated, accept its terms on {base}/{repository} and put a token into [downloads] token_file ({error})"
        ) from error
    model = _Model.read(body, host)
    listed = [
        Listed(file.rfilename, file.lfs.size if file.lfs else file.size, file.lfs.sha256 if file.lfs else None)
        for file in model.siblings
    ]
    quantisation, files = choose(listed, wanted, f"{host}/{repository}")
    base = f"{base}/{repository}/resolve/{model.sha}"
    return Found(
        name=f"hf.co/{repository}:{tag_of(quantisation)}",
        pieces=tuple(Remote(f"{base}/{quote(file.path)}", file.size_bytes, file.sha256, file.path) for file in files),
        source=f"hf.co/{repository}:{quantisation}",
        revision=model.sha,
        license=license_of(model.cardData.license if model.cardData else None),
    )
