"""The page's files: complete, whole, and kept in by their headers."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request

from edged.api import page

ASSETS = page.assets()
PAGES = ("/", "/claim", "/people")


def test_a_page_is_at_one_address_only() -> None:
    assert {path for path, asset in ASSETS.items() if asset.content_type == "text/html"} == set(PAGES)
    assert not [path for path in ASSETS if path.endswith(".html")]


def test_only_what_a_browser_needs_is_served() -> None:
    assert {path.rsplit(".", 1)[-1] for path in ASSETS if path not in PAGES} <= {"js", "css", "svg"}
    assert not [path for path in ASSETS if "LICENSE" in path]


def test_everything_that_the_pages_refer_to_is_served() -> None:
    html = "".join(ASSETS[path].body.decode() for path in PAGES)
    referred = re.findall(r"""(?:src|href)=["']([^"']+)["']""", html)
    for path, asset in ASSETS.items():
        if path.endswith(".js") and "/vendor/" not in path:
            folder = path.rsplit("/", 1)[0]
            for target in re.findall(r"""(?:from|import)\s*["']([^"']+)["']""", asset.body.decode()):
                assert target.startswith("."), f"{path} imports {target}"
                referred.append(str(Path(folder, target)))

    assert referred
    for target in referred:
        if not target.startswith(("#", "data:")) and target != "docs":  # a route of its own, `test_docs.py` opens it
            assert "/" + target.lstrip("./") in ASSETS, target


@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_loaded_from_anywhere_else(path: str) -> None:
    html = ASSETS[path].body.decode()

    assert not re.search(r"""(?:src|href)=["']\s*(?:https?:)?//""", html)
    assert "<script>" not in html
    assert not re.search(r"\sstyle=|\son[a-z]+=", html)


def test_the_policy_allows_nothing_inline_and_nothing_foreign() -> None:
    policy = page.SECURITY_HEADERS["Content-Security-Policy"]

    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy


def test_a_file_is_sent_with_its_headers_and_compressed_where_that_is_taken() -> None:
    asset = ASSETS["/"]

    plain = page.respond(make_mocked_request("GET", "/"), asset)
    small = page.respond(make_mocked_request("GET", "/", headers={"Accept-Encoding": "gzip, br"}), asset)

    assert plain.body == asset.body
    assert isinstance(small.body, bytes)
    assert gzip.decompress(small.body) == asset.body
    assert (plain.headers.get("Content-Encoding"), small.headers["Content-Encoding"]) == (None, "gzip")
    for response in (plain, small):
        assert response.headers["Vary"] == "Accept-Encoding"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"


def test_what_the_browser_still_has_is_not_sent_again() -> None:
    asset = ASSETS["/"]
    for tag, status in ((asset.etag, 304), ("other", 200)):
        response = page.respond(make_mocked_request("GET", "/", headers={"If-None-Match": f'"{tag}"'}), asset)

        assert response.status == status
        assert response.headers["ETag"] == f'"{asset.etag}"'
        assert "Content-Security-Policy" in response.headers


def test_a_changed_file_has_another_tag(tmp_path: Path) -> None:
    tags = set()
    for content in ("a", "b"):
        (tmp_path / "index.html").write_text(content)
        tags.add(page.assets(tmp_path)["/"].etag)

    assert len(tags) == 2
