"""Bodies from strangers: JSON and nothing more, refused in words and at once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from edged.api import body
from edged.api.intake import BODIES, Bodies
from edged.api.patience import Deadlines
from edged.errors import EdgedError, InvalidRequest, UnsupportedMediaType, UnsupportedParameter


class Asked(BaseModel):
    """A body that takes anything under one key."""

    model_config = ConfigDict(strict=True, extra="forbid")
    value: Any = "absent"
    count: int = 0


def refused(data: bytes) -> str:
    with pytest.raises(InvalidRequest) as error:
        body.parse(data, Asked)
    return str(error.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{'value': 1}", "not JSON"),
        (b'{"value": 1,}', "not JSON"),
        (b'{"value": 1} x', "not JSON"),
        (b"[]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"5", "must be a JSON object"),
        (b'{"value": NaN}', "NaN is not JSON"),
        (b'{"value": Infinity}', "Infinity is not JSON"),
        (b'{"value": [-Infinity]}', "-Infinity is not JSON"),
        (b'{"value": 1, "value": 2}', "'value' appears twice"),
        (b'{"value": {"a": 1, "a": 1}}', "'a' appears twice"),
        (b'{"value": "\\ud800"}', "half a surrogate pair"),
        (b'{"value": "\\uD83D x"}', "half a surrogate pair"),
        (b'{"\\udfff": 1}', "half a surrogate pair"),
        (b'{"value": "\xff"}', "not UTF-8 (byte 11)"),
        (b'{"value": "\xed\xa0\x80"}', "not UTF-8"),
        (b'{"value": "\xc0\xaf"}', "not UTF-8"),
        ('{"value": 1}'.encode("utf-16"), "not"),
        (b'{"value": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"count": 1e999}', "count"),
        (b'{"count": "5"}', "count"),
        (b'{"count": true}', "count"),
        (b'{"value": ' + b"[" * 1000 + b"]" * 1000 + b"}", "nested deeper than 64"),
        (b'{"value": ' + b'{"a":' * 100_000, "nested deeper than 64"),
        (b"[" * 1_000_000, "nested deeper than 64"),
        (b'{"value": "' + b"\\" * 1_000_000, "not JSON"),
        (b'{"value": "' + b'\\"' * 500_000, "not JSON"),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else None,
)
@pytest.mark.timeout(5)
def test_what_is_not_plain_json_is_refused_in_words(data: bytes, words: str) -> None:
    assert words in refused(data)


@pytest.mark.parametrize(
    "text", ["x" * 100_000, '"' * 3, "\\" * 7, "[{" * 1000, "\\ud83d 😀", "\0\u2028", '\\"[' * 100]
)
def test_brackets_and_escapes_inside_strings_are_only_text(text: str) -> None:
    for ascii_only in (True, False):
        data = json.dumps({"value": text}, ensure_ascii=ascii_only).encode()
        assert body.parse(data, Asked).value == text


json_values = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('abc"[{\\'), inner, max_size=4),
    max_leaves=20,
)


@given(json_values, st.booleans())
def test_json_arrives_as_it_is(value: Any, ascii_only: bool) -> None:
    assert body.parse(json.dumps({"value": value}, ensure_ascii=ascii_only).encode(), Asked).value == value


@given(st.binary(max_size=60))
def test_noise_is_refused_and_nothing_worse(noise: bytes) -> None:
    with pytest.raises(EdgedError):
        body.parse(b'{"count": "x", ' + noise, Asked)


def test_a_null_is_as_good_as_absent() -> None:
    assert body.parse(b'{"value": null, "count": null}', Asked) == Asked()
    assert body.parse(b'{"value": {"a": null, "b": [{"c": null}]}}', Asked).value == {"b": [{}]}


def test_as_deep_as_is_allowed_is_allowed() -> None:
    depth = body.MAX_DEPTH - 1

    assert body.parse(b'{"value": ' + b"[" * depth + b"]" * depth + b"}", Asked)
    assert "nested deeper" in refused(b'{"value": ' + b"[" * (depth + 1) + b"]" * (depth + 1) + b"}")


def test_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedParameter, match="volume is not supported here; leave it out") as error:
        body.parse(b'{"volume": 11}', Asked)

    assert error.value.param == "volume"


def test_a_long_value_is_not_repeated_whole() -> None:
    assert len(refused(json.dumps({"count": "x" * 10_000}).encode())) < 300


async def answer(data: bytes, path: str = "/", **headers: str) -> tuple[int, str]:
    async def handle(request: web.Request) -> web.Response:
        try:
            return web.json_response({"value": (await body.read(request, Asked)).value})
        except EdgedError as error:
            return web.Response(status=400, text=f"{type(error).__name__}: {error}")

    app = web.Application()
    app[BODIES] = Bodies(2**20, Deadlines())
    app.router.add_post(path, handle)
    async with TestClient(TestServer(app)) as client:
        response = await client.post(path, data=data, headers=headers)
        return response.status, await response.text()


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json", "x"],
)
async def test_another_content_type_is_refused(content_type: str) -> None:
    status, text = await answer(b"{}", **{"Content-Type": content_type})

    assert (status, text.split(":")[0]) == (400, UnsupportedMediaType.__name__)


@pytest.mark.parametrize(
    "content_type", ["application/octet-stream", "application/x-www-form-urlencoded", "text/plain;charset=UTF-8"]
)
async def test_ollamas_programs_need_not_say_that_it_is_json(content_type: str) -> None:
    assert await answer(b'{"value": "x"}', "/api/chat", **{"Content-Type": content_type}) == (200, '{"value": "x"}')


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "image/png", "text/json"])
async def test_but_not_that_it_is_something_else(content_type: str) -> None:
    assert (await answer(b"{}", "/api/chat", **{"Content-Type": content_type}))[0] == 400


@pytest.mark.parametrize("encoding", ["br", "zstd", "x"])
async def test_a_compressed_body_is_refused(encoding: str) -> None:
    status, text = await answer(b"{}", **{"Content-Type": "application/json", "Content-Encoding": encoding})

    assert status == 400
    assert "UnsupportedMediaType" in text or "encoding" in text.lower()


@pytest.mark.parametrize("size", [10, 200_000])
async def test_small_and_large_bodies_arrive(size: int) -> None:
    data = json.dumps({"value": "x" * size}).encode()

    assert await answer(data, **{"Content-Type": "application/json; charset=utf-8"}) == (200, data.decode())
