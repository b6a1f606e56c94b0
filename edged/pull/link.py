"""Files behind plain links: what is known of them is what the link says. Nobody is asked before the file itself."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit

from edged.errors import InvalidRequest
from edged.plain import plain
from edged.pull.choice import split_of
from edged.pull.found import Found, Remote
from edged.pull.reference import Link

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def find(link: Link, sha256: str | None) -> Found:
    """The file, or all pieces of the split model whose first it names. Raises `InvalidRequest`, `ModelInvalid`."""
    url = urlsplit(link.url)
    folder, _, file = unquote(url.path).rpartition("/")
    split = split_of(file)
    pieces: tuple[Remote, ...]
    if split.count == 1:
        pieces = (Remote(link.url, None, sha256, plain(file)),)
    elif sha256 is not None:
        raise InvalidRequest(
            f"{plain(file)} is one of {split.count} pieces; one checksum cannot speak for them.", param="sha256"
        )
    else:
        files = [split.file(number) for number in range(1, split.count + 1)]
        urls = [url._replace(path=quote(f"{folder}/{one}")).geturl() for one in files]
        pieces = tuple(Remote(one, None, None, plain(file)) for one, file in zip(urls, files, strict=True))
    return Found(name=name_of(link.url), pieces=pieces, source=link.url)


def name_of(url: str) -> str:
    """What a file is called without its ending and its number, with what no name may have left out."""
    prefix = split_of(unquote(urlsplit(url).path).rpartition("/")[2]).prefix
    return _NOT_IN_NAMES.sub("-", prefix).strip("-._") or "model"
