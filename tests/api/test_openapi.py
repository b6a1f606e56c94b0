"""The description is whole, valid and true: of every route, of every answer, and on the page made of it."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import aiohttp
import jsonschema
import pytest
from aiohttp import web
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from edged.api import docs, listening, openapi, page
from edged.api.exposed import Exposed, Route, Told
from edged.api.ollama_models import REFUSED
from edged.api.server import build_app, routes
from edged.api.shapes import SHAPES
from edged.chat import Caller, ChatRequest, TokenizeRequest
from edged.completion import CallDelta, Delta, Finish, TextTokens, Thought, TokenLogprob
from edged.local.backend import Local
from edged.observe import Observed
from edged.tls.context import Facts, Trusted
from tests.api.shelves import owners_headers
from tests.api.test_server import exposed_without_sockets
from tests.fakes import Script, ScriptedBackend

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance"
)
SAID = (Delta(0, "Hello", logprobs=(TokenLogprob(b"Hello", -0.1),)), Delta(0, " you"), Finish(0, "stop", 3))
CERTIFIED = Facts(("box",), datetime(2027, 1, 1), Trusted("-----BEGIN", "AB:CD", datetime(2036, 1, 1)))
CALLED = (Thought(0, "Hm."), CallDelta(0, 0, "call_1", "look", "{}"), Finish(0, "tool_calls", 3))


class Reader(Local):
    """Answers about texts and tokens without a model."""

    async def load(self, model: str, caller: Caller, keep_alive_s: float | None) -> None:
        """At once."""

    async def tokenize(self, model: str, wanted: TokenizeRequest, caller: Caller) -> TextTokens:
        """A token per byte."""
        data = wanted.text.encode()
        return TextTokens(tuple(data), tuple(bytes([byte]) for byte in data) if wanted.with_pieces else ())

    async def detokenize(self, model: str, tokens: tuple[int, ...], caller: Caller) -> bytes:
        """A letter per token."""
        return b"x" * len(tokens)

    async def lay_out(self, model: str, request: ChatRequest) -> str:
        """Its texts."""
        return "".join(message.text for message in request.messages)


def exposed(folder: Path, *steps: Any) -> Exposed:
    """All that the routes need, with answers that are written down."""
    made = exposed_without_sockets(folder)
    made.backend = Observed(ScriptedBackend(Script(steps or SAID)), made.journal)
    made.local = Reader(made.pool, made.store, made.config.limits)
    made.addresses, made.certified = ("http://127.0.0.1:80",), lambda: CERTIFIED
    return made


@asynccontextmanager
async def served(folder: Path, *steps: Any) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """The address of all routes on a socket, and the headers of who may ask them."""
    made = exposed(folder, *steps)
    async with (
        made.pulls,
        made.scrubbing,
        listening.serving(build_app(made), "127.0.0.1", 0, folder / "sock") as addresses,
    ):
        yield addresses[0], owners_headers(made.access)


@pytest.fixture
def table(tmp_path: Path) -> list[Route]:
    return routes(exposed_without_sockets(tmp_path))


@pytest.fixture
def document(table: list[Route]) -> dict[str, Any]:
    return openapi.document(table)


def within(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in a document, with where it stands."""
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from within(item, f"{path}/{key}")


def test_every_route_is_described_but_for_the_pages_files_and_what_only_refuses(
    table: list[Route], document: dict[str, Any]
) -> None:
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    untold = {("GET", path) for path in page.assets()} | set(REFUSED)
    assert described | untold == {(route.method, route.path) for route in table}
    assert not described & untold
    assert {route.told is None for route in table if (route.method, route.path) in untold} == {True}


def test_a_route_that_says_nothing_of_itself_cannot_be_made() -> None:
    async def mute(request: web.Request) -> web.Response:
        return web.Response()

    with pytest.raises(TypeError, match="told"):
        Route("GET", "/forgotten", "chat", mute)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="GET /forgotten does not say what it does"):
        openapi.document([Route("GET", "/forgotten", "chat", mute, Told({200: "Alive"}))])


def test_the_document_is_an_openapi_document(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    OPENAPI_31_VALIDATOR.validate(document)


def test_every_schema_is_a_json_schema(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert re.fullmatch(r"[\w.-]+", name)


def test_every_word_of_a_schema_means_something(document: dict[str, Any]) -> None:
    known = {
        "$ref",
        "type",
        "enum",
        "const",
        "anyOf",
        "oneOf",
        "properties",
        "required",
        "additionalProperties",
        "items",
    }
    known |= {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "pattern"}
    known |= {"minItems", "maxItems", "maxProperties", "patternProperties", "propertyNames", "dependentRequired"}
    known |= {"description", "default", "discriminator", "contentEncoding"}
    own = ("properties", "patternProperties", "default", "dependentRequired", "discriminator", "const", "mapping")
    for path, value in within(document["components"]["schemas"]):
        if isinstance(value, dict) and path.count("/") > 0 and not set(path.split("/")[-2:]) & set(own):
            assert set(value) <= known, path


def test_every_reference_leads_somewhere_and_every_schema_is_referred_to(document: dict[str, Any]) -> None:
    found = dict(within(document))
    references = {value for path, value in found.items() if path.endswith("/$ref")}
    assert {reference for reference in references if reference.removeprefix("#") not in found} == set()
    unused = {name for name in document["components"]["schemas"] if f"#/components/schemas/{name}" not in references}
    assert unused <= {name for name, schema in SHAPES.items() if schema.get("type") != "object"} | {
        "Stream", "OllamaText", "Message", "Response"
    }  # fmt: skip


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(set(names)) == len(names)


def test_nothing_of_the_inside_is_told(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    assert "edged__" not in text
    assert "$defs" not in text
    assert not [name for name in document["components"]["schemas"] if name.startswith("_") or "Other" in name]


def test_every_field_of_a_body_is_in_its_schema(table: list[Route], document: dict[str, Any]) -> None:
    for route in table:
        if route.told is not None and route.told.body is not None:
            operation = document["paths"][route.path][route.method.lower()]
            schema = resolved(operation["requestBody"]["content"]["application/json"]["schema"], document)
            fields = {field.alias or name for name, field in route.told.body.model_fields.items()}
            assert set(schema["properties"]) == fields, route.path
            assert schema["additionalProperties"] is False, route.path


def test_every_body_has_an_example_that_its_schema_takes(table: list[Route], document: dict[str, Any]) -> None:
    for route in table:
        if route.told is not None and route.told.body is not None:
            assert route.told.example is not None, route.path
            route.told.body.model_validate(route.told.example)
            content = document["paths"][route.path][route.method.lower()]["requestBody"]["content"]["application/json"]
            assert content["example"] == route.told.example
            jsonschema.validate(
                content["example"],
                content["schema"] | {"components": document["components"]},
                cls=jsonschema.Draft202012Validator,
            )


def test_errors_are_told_in_the_shape_of_their_dialect(document: dict[str, Any]) -> None:
    def shape(path: str, status: str) -> str:
        response = resolved(document["paths"][path]["post"]["responses"][status], document)
        return cast(str, response["content"]["application/json"]["schema"]["$ref"]).rsplit("/", 1)[1]

    assert shape("/v1/chat/completions", "503") == "OpenAIError"
    assert shape("/v1/messages", "404") == "AnthropicError"
    assert shape("/api/chat", "400") == "OllamaError"
    told = document["components"]["responses"]["openai-503"]
    assert "`worker_crashed`" in told["description"]
    assert "Retry-After" in told["headers"]


@pytest.mark.parametrize("steps", [SAID, CALLED], ids=["words", "calls"])
async def test_real_answers_have_their_shapes(steps: tuple[Any, ...], tmp_path: Path) -> None:
    described = openapi.document(routes(exposed(tmp_path)))
    for name in ("small", "small-too"):
        (tmp_path / f"{name}.gguf").touch()  # what the examples copy and delete
    async with served(tmp_path, *steps) as (address, key), aiohttp.ClientSession(address, headers=key) as client:
        for path, methods in described["paths"].items():
            for method, operation in methods.items():
                if path in ("/v1/stream", "/edged/v1/requests/{id}", *UNDER_WAY):
                    continue  # there is nothing to be read on or stopped
                place = path.replace("{model}", "guide").replace("{id}", "guide").replace("{name}", "small-too")
                async with client.request(method, place, json=example_of(operation)) as response:
                    assert response.status < 300, (path, await response.text())
                    check(await response.read(), response, operation, described)
        asked = {"input": "a cat", "encoding_format": "base64"}
        async with client.post("/v1/embeddings", json=asked) as response:
            check(await response.read(), response, described["paths"]["/v1/embeddings"]["post"], described)
        for wrong in ("/v1/chat/completions", "/v1/messages", "/api/chat"):
            async with client.post(wrong, json={"nonsense": 1}) as response:
                assert response.status == 400
                check(await response.read(), response, described["paths"][wrong]["post"], described)


def example_of(operation: Any) -> Any:
    content = operation["requestBody"]["content"]["application/json"] if "requestBody" in operation else {}
    return content.get("example")


def check(data: bytes, response: aiohttp.ClientResponse, operation: Any, document: dict[str, Any]) -> None:
    told = resolved(operation["responses"][str(response.status)], document)
    if not data:
        assert "content" not in told
        return
    if response.content_type != "application/json":
        assert response.content_type in told["content"]
        return
    schema = told["content"][response.content_type]["schema"] | {"components": document["components"]}
    jsonschema.validate(json.loads(data), schema, cls=jsonschema.Draft202012Validator)


def resolved(told: Any, document: dict[str, Any]) -> Any:
    if "$ref" not in told:
        return told
    _, _, room, name = told["$ref"].split("/")
    return document["components"][room][name]


# What is there only once it was begun; `test_pulls.py`, `test_uploads.py` and `test_people.py` begin it.
UNDER_WAY = (
    "/edged/v1/pulls/{id}", "/edged/v1/imports/{id}", "/edged/v1/users/{id}", "/edged/v1/sessions/{id}",
    "/edged/v1/keys/{id}", "/edged/v1/claim", "/edged/v1/claim/requests/{id}", "/edged/v1/claim/requests/answers",
)  # fmt: skip
# Where a body is the same as elsewhere, its every corner has been tried there.
SAME_BODIES = "^/openai/|^/apply-template|/count_tokens$"
# Where it is right to answer with a status above 500: the disk has no room for the sizes that come to mind.
ROOM = "^/edged/v1/(pulls|imports)"
NEEDS_A_HUB = "^/api/pull"


@pytest.mark.timeout(240)  # some 6,000 requests
@pytest.mark.parametrize(
    ("phases", "choice", "paths", "checks"),
    [
        ("examples,coverage,fuzzing", "--exclude-path-regex", f"{SAME_BODIES}|{ROOM}|{NEEDS_A_HUB}", CHECKS),
        ("examples,fuzzing", "--include-path-regex", SAME_BODIES, CHECKS),
        ("examples,coverage,fuzzing", "--include-path-regex", ROOM, CHECKS.removeprefix("not_a_server_error,")),
    ],
    ids=["every corner", "bodies that others have too", "what takes room"],
)
async def test_whatever_is_asked_the_answer_is_one_that_was_described(
    phases: str, choice: str, paths: str, checks: str, tmp_path: Path
) -> None:
    async with served(tmp_path) as (address, key):
        owners = f"Authorization: {key['Authorization']}"
        asking = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{address}/openapi.json", "-H", owners,
            "--checks", checks, "--phases", phases, choice, paths, "--max-examples", "5",
            "--generation-deterministic", "--suppress-health-check", "all", "--continue-on-failure", "--no-shrink",
            "--no-color", "--warnings", "off",
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await asking.communicate()

    assert asking.returncode == 0, said.decode()


async def test_the_document_and_its_page_are_served(tmp_path: Path) -> None:
    async with served(tmp_path) as (address, key), aiohttp.ClientSession(address, headers=key) as client:
        async with client.get("/openapi.json") as response:
            assert await response.json() == openapi.document(routes(exposed(tmp_path)))
            tag = response.headers["ETag"]
        async with client.get("/openapi.json", headers={"If-None-Match": tag}) as response:
            assert response.status == 304
        async with client.get("/docs") as response:
            assert response.headers["Content-Type"] == "text/html; charset=utf-8"
            assert response.headers["Content-Security-Policy"] == page.SECURITY_HEADERS["Content-Security-Policy"]
            assert "completions" in await response.text()


class Tags(HTMLParser):
    """The tags of a page: their names, attributes, and whether each was closed where it should be."""

    VOID = frozenset({"meta", "link", "img", "wbr", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_links_within_itself(document: dict[str, Any]) -> None:
    tags = Tags(docs.html(document))

    assert tags.open == []
    ids = [attributes["id"] for _, attributes in tags.seen if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for tag, attributes in tags.seen:
        target = attributes.get("href") or attributes.get("src")
        if target and target.startswith("#"):
            assert target[1:] in ids, target
        elif target and tag != "a":
            assert f"/{target}" in page.assets(), target


def test_the_page_names_every_path_and_every_field(document: dict[str, Any]) -> None:
    text = re.sub("<[^>]*>", "", docs.html(document))
    for path in document["paths"]:
        assert path in text
    for schema in document["components"]["schemas"].values():
        for field in schema.get("properties", {}):
            assert field in text


def test_the_page_runs_nothing_and_loads_nothing_from_elsewhere(document: dict[str, Any]) -> None:
    for tag, attributes in Tags(docs.html(document)).seen:
        assert tag not in ("script", "style", "iframe", "form", "object")
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        assert "//" not in (attributes.get("href") or attributes.get("src") or "")


def test_what_the_document_says_is_text_on_the_page() -> None:
    evil = '"><script>alert(1)<b>'
    document = {
        "info": {"title": evil, "version": evil, "description": f"{evil} `{evil}`"},
        "tags": [{"name": evil}],
        "paths": {
            f"/{evil}": {
                evil: {
                    "summary": evil,
                    "operationId": evil,
                    "tags": [evil],
                    "parameters": [{"name": evil, "in": evil, "schema": {"type": evil, "default": evil}}],
                    "requestBody": {
                        "content": {evil: {"schema": {"$ref": f"#/components/schemas/{evil}"}, "example": evil}}
                    },
                    "responses": {
                        evil: {"description": evil, "content": {evil: {"schema": {"enum": [evil]}}}},
                        f"4{evil}": {"$ref": f"#/components/responses/a-{evil}"},
                    },
                }
            }
        },
        "components": {
            "responses": {f"a-{evil}": {"description": evil}},
            "schemas": {evil: {"type": "object", "description": evil, "properties": {evil: {"const": evil}}}},
        },
    }
    assert "<script" not in docs.html(document)
