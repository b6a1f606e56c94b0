"""The OpenAPI document as a page for people: plain HTML, no script, nothing from anywhere else.

Pure. Whatever comes from the document is escaped. Styles are in `web/docs.css`, beside those of the chat page; the
security headers are that page's (`page.py`). A link to something that is folded away opens it (the HTML standard,
"ancestor details revealing algorithm").
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

_CODE = re.compile(r"`([^`]+)`")
_ROUTE = re.compile(r"\A`[A-Z]+ [^`]*`[.:]\s*")
# Bounds that only say how wide a number is are none.
_WIDEST = 2**31 - 1
_PLACES = {"path": "In the path", "query": "In the query", "header": "Headers"}
# In the words of `web/strings.js`.
SUPERVISED = "Supervised: the owner of this device can read what is written here."
_HEAD = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>edged: what can be asked</title>
  <link rel="icon" href="icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="style.css">
  <link rel="stylesheet" href="docs.css">
</head>
"""


def html(document: Mapping[str, Any], notice: str = "") -> str:
    """The page, with a `notice` above all else."""
    return _HEAD + "\n".join(_body(document, notice)) + "\n</html>\n"


def _body(document: Mapping[str, Any], notice: str) -> Iterator[str]:
    info, tags = document["info"], [tag["name"] for tag in document["tags"]]
    yield (
        '<body>\n<header class="top"><div class="column"><a class="brand" href=".">'
        '<img src="icon.svg" alt="" width="26" height="26">edged</a>'
        '<a class="quiet" href="openapi.json">openapi.json</a></div>'
        + (f'<p class="supervised column" role="note">{escape(notice)}</p>' if notice else "")
        + "</header>"
    )
    yield f'<main class="column docs">\n<h1>What can be asked</h1>\n<p class="lead">{_prose(info["description"])}</p>'
    links = [*((_anchor(tag), tag) for tag in tags), ("errors", "Errors"), ("shapes", "Shapes")]
    yield '<nav class="tags">' + "".join(f'<a href="#{id}">{escape(name)}</a>' for id, name in links) + "</nav>"
    for tag in tags:
        yield f'<section>\n<h2 id="{_anchor(tag)}">{escape(tag)}</h2>'
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if tag in operation["tags"]:
                    yield from _operation(method, path, operation, document["components"])
        yield "</section>"
    yield '<section>\n<h2 id="errors">Errors</h2>' + _errors(document["components"]["responses"]) + "</section>"
    yield '<section>\n<h2 id="shapes">Shapes</h2>'
    for name, schema in sorted(document["components"]["schemas"].items(), key=lambda named: named[0].lower()):
        yield f'<details class="entry"><summary><code class="path">{escape(name)}</code></summary>'
        yield f'<div class="inside" id="{_place(name)}">{_shape(schema)}</div></details>'
    yield f'</section>\n<p class="version">edged {escape(info["version"])}</p>\n</main>\n</body>'


def _operation(method: str, path: str, operation: Mapping[str, Any], components: Mapping[str, Any]) -> Iterator[str]:
    id = escape(operation["operationId"])
    what = f'<span class="method {escape(method)}">{escape(method.upper())}</span><code class="path">{_breakable(path)}'
    does = _prose(operation["summary"])
    yield f'<details class="entry"><summary>{what}</code><span class="does">{does}</span></summary>'
    yield f'<div class="inside" id="{id}">'
    if "requestBody" in operation:
        (content,) = operation["requestBody"]["content"].values()
        schema, example = content["schema"], json.dumps(content["example"], ensure_ascii=False)
        yield f'<h3>For example</h3><div class="code"><pre><code>{escape(example)}</code></pre></div>'
        yield f"<h3>Body: {_type(schema)}</h3>{_shape(_resolved(schema, components), is_named=True)}"
    if "parameters" in operation:
        parameters = [_resolved(parameter, components) for parameter in operation["parameters"]]
        places = dict.fromkeys(_PLACES.get(parameter["in"], parameter["in"]) for parameter in parameters)
        yield f"<h3>{escape(', '.join(places))}</h3>" + _list(map(_parameter, parameters))
    yield "<h3>Answers</h3>" + _answers(operation["responses"], components)
    yield "</div></details>"


def _answers(responses: Mapping[str, Any], components: Mapping[str, Any]) -> str:
    """What comes of it; what can go wrong is told once for all, and here only by its statuses."""
    failures = [status for status, response in responses.items() if "$ref" in response]
    rows = [_row(status, told["description"], told) for status, told in responses.items() if status not in failures]
    (shape,) = {_kinds(_resolved(responses[status], components)) for status in failures}
    rows.append(f'<dt>or</dt><dd><a href="#errors">{" ".join(map(escape, failures))}</a>{shape}</dd>')
    return f'<dl class="answers">{"".join(rows)}</dl>'


def _errors(responses: Mapping[str, Any]) -> str:
    by_status = {name.rsplit("-", 1)[1]: told for name, told in responses.items()}
    rows = (_row(status, told["description"], {}) for status, told in by_status.items())
    return f'<dl class="answers">{"".join(rows)}</dl>'


def _row(status: str, about: str, told: Mapping[str, Any]) -> str:
    return f"<dt>{escape(status)}</dt><dd>{_prose(about)}{_kinds(told)}</dd>"


def _kinds(told: Mapping[str, Any]) -> str:
    return "".join(
        f'<span class="kind">{escape(kind)}{_shown(media)}</span>' for kind, media in told.get("content", {}).items()
    )


def _shown(media: Mapping[str, Any]) -> str:
    """What a stream consists of is told with the answer that is none."""
    return f": {_type(media['schema'])}" if "schema" in media else ""


def _shape(schema: Mapping[str, Any], *, is_named: bool = False) -> str:
    """What an object consists of, or what else it is; `is_named`: where the route stands already that takes it."""
    said = _ROUTE.sub("", schema.get("description", "")) if is_named else schema.get("description", "")
    about = f"<p>{_prose(said)}</p>" if said else ""
    if not schema.get("properties"):
        return f"{about}<p>{_type(schema)}</p>"
    must = schema.get("required", ())
    fields = sorted(schema["properties"].items(), key=lambda field: field[0] not in must)
    return about + _list(_field(name, field, is_must=name in must) for name, field in fields)


def _parameter(parameter: Mapping[str, Any]) -> str:
    about = parameter.get("description", f"In the {parameter['in']}.")
    schema = {**parameter["schema"], "description": about}
    return _field(parameter["name"], schema, is_must=parameter.get("required", False))


def _field(name: str, schema: Mapping[str, Any], *, is_must: bool) -> str:
    needed = ' <b class="must">required</b>' if is_must else ""
    said = f'<span class="said">{_prose(schema["description"])}</span>' if "description" in schema else ""
    return f"<dt><code>{escape(name)}</code>{needed}</dt><dd>{_type(schema)}{_default(schema)}{said}</dd>"


def _list(rows: Iterable[str]) -> str:
    return f'<dl class="fields">{"".join(rows)}</dl>'


def _default(schema: Mapping[str, Any]) -> str:
    default = schema.get("default")
    if default in (None, "", [], {}) or isinstance(default, dict):
        return ""
    return f' <span class="default">= {escape(json.dumps(default, ensure_ascii=False))}</span>'


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a line, with links to what it refers to."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f'<a href="#{_place(name)}">{escape(name)}</a>'
    if several := schema.get("anyOf") or schema.get("oneOf"):
        kinds = [_type(one) for one in several if one != {"type": "null"}]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema or "const" in schema:
        return " | ".join(
            f"<code>{escape(json.dumps(value))}</code>" for value in schema.get("enum", [schema.get("const")])
        )
    if schema.get("type") == "array":
        return f"list of {_item(schema['items'])}" if schema.get("items") else "list"
    return escape(schema.get("type", "anything")) + _bounds(schema)


def _item(schema: Mapping[str, Any]) -> str:
    """What a list is of; several kinds hold together."""
    return f"({_type(schema)})" if " or " in _type(schema) else _type(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    least = "" if low is None or low <= -_WIDEST else f"{low:,}"
    most = "" if high is None or high >= _WIDEST else f"{high:,}"
    if least and most:
        return f" {least} to {most}"
    return f" from {least}" if least else f" to {most}" if most else ""


def _resolved(told: Mapping[str, Any], components: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in told:
        return told
    _, _, room, name = told["$ref"].split("/")
    found: Mapping[str, Any] = components[room][name]
    return found


def _prose(text: str) -> str:
    """Text with `code` in it."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _breakable(path: str) -> str:
    return escape(path).replace("/", "<wbr>/")


def _anchor(tag: str) -> str:
    return re.sub(r"\W+", "-", tag.lower())


def _place(name: str) -> str:
    return f"shape-{escape(name)}"
