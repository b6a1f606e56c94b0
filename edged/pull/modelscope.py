"""Repositories of ModelScope, which can be reached where Hugging Face cannot.

    GET /api/v1/models/ORG/REPO/repo/files?Revision=master&Recursive=True     files with size and checksum
    GET /api/v1/models/ORG/REPO/repo?Revision=master&FilePath=FILE            the file, after redirects

Source: modelscope_hub 0.5 (_legacy_api.py: `list_repo_files`, `_list_files_page`, `get_file_download_url`;
_resilient_download.py: `_validate_entry`; constants.py: `DEFAULT_ENDPOINT`, `REPO_FILES_TRUNCATION_LIMIT`). Nothing
there pins a commit, so the checksum does: a file that changed meanwhile is not what was announced.
"""

from __future__ import annotations

from urllib.parse import quote_plus

from pydantic import Field

from edged.pull.choice import Listed, choose, tag_of
from edged.pull.found import Answer, Found, Remote
from edged.pull.hosts import origin_of
from edged.pull.web import Web

_REVISION = "master"


class _File(Answer):
    Path: str
    Type: str = "blob"
    Size: int | None = Field(None, ge=0)
    Sha256: str | None = None


class _Files(Answer):
    Files: list[_File]


class _Listing(Answer):
    Data: _Files


async def find(web: Web, endpoint: str, repository: str, wanted: str) -> Found:
    """The files meant by `wanted`. Raises `ModelNotFound`, `ProviderAuth`, `ProviderUnavailable`, `ModelInvalid`."""
    base, host = f"{endpoint.rstrip('/')}/api/v1/models/{repository}/repo", origin_of(endpoint).host
    body = await web.json(f"{base}/files?Revision={_REVISION}&Recursive=True")
    listed = [
        Listed(file.Path, file.Size, _checksum(file.Sha256))
        for file in _Listing.read(body, host).Data.Files
        if file.Type != "tree"
    ]
    quantisation, files = choose(listed, wanted, f"{host}/{repository}")
    return Found(
        name=f"modelscope.cn/{repository}:{tag_of(quantisation)}",
        pieces=tuple(
            Remote(
                f"{base}?Revision={_REVISION}&FilePath={quote_plus(file.path)}", file.size_bytes, file.sha256, file.path
            )
            for file in files
        ),
        source=f"modelscope.cn/{repository}:{quantisation}",
        revision=_REVISION,
    )


def _checksum(said: str | None) -> str | None:
    plain = (said or "").lower()
    return plain if len(plain) == 64 and not set(plain) - set("0123456789abcdef") else None
