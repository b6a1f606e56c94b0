"""README.md is held true: the endpoints, commands, fields, settings and error codes that it names are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edged import config, errors
from edged.__main__ import main
from edged.api.exposed import Told
from edged.api.openai import ChatBody, CompletionBody
from edged.api.replay import CONVERSATION
from edged.api.server import routes
from tests.api.test_server import exposed_without_sockets

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_endpoints_are_the_route_table(tmp_path: Path) -> None:
    told = set(re.findall(r"`((?:GET|POST|PATCH|DELETE) /[^`]*)`", README))
    assert told == {f"{route.method} {route.path}" for route in routes(exposed_without_sockets(tmp_path)) if route.told}


def paths_of(schema: Any, root: Any, prefix: str = "", depth: int = 4) -> Iterator[str]:
    """The dotted names of everything that a body may hold; lists add nothing to a name."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    inner = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *([schema["items"]] if schema.get("items") else [])]
    for one in inner:
        yield from paths_of(one, root, prefix, depth)
    for name, field in schema.get("properties", {}).items():
        yield prefix + name
        if depth:
            yield from paths_of(field, root, f"{prefix}{name}.", depth - 1)


def features(told: Told) -> list[str]:
    """A row of the table, in the order of its columns."""
    assert told.body is not None
    schema = told.body.model_json_schema()
    fields = set(paths_of(schema, schema))

    def yes(*any_of: str) -> str:
        return "yes" if fields & set(any_of) else "–"

    usage = "always" if "stream" in fields else "–"
    return [
        yes("stream"),
        "if asked" if "stream_options.include_usage" in fields else usage,
        "yes" if CONVERSATION in told.params else "–",
        yes("tools"),
        yes(
            "response_format.json_schema", "json_schema", "text.format.schema", "output_config.format.schema", "format"
        ),
        yes("reasoning_effort", "reasoning.effort", "thinking", "think"),
        "refused"
        if {name for name in fields if name.endswith(("image_url", "images", "content.source.media_type"))}
        else "–",
        yes("logprobs", "top_logprobs"),
        yes("n"),
        yes("seed", "options.seed"),
        yes("stop", "options.stop", "stop_sequences"),
    ]


def test_the_table_of_features_is_what_the_bodies_take(tmp_path: Path) -> None:
    told = {route.path: route.told for route in routes(exposed_without_sockets(tmp_path)) if route.told}
    rows = re.findall(r"^\| ((?:`/[^`]*`(?:, )?)+) \| (.*) \|$", README, flags=re.MULTILINE)
    assert len(rows) == 7
    for paths, cells in rows:
        for path in re.findall(r"`([^`]*)`", paths):
            assert cells.split(" | ") == features(told[path]), path


def test_the_honoured_fields_are_those_that_have_an_effect() -> None:
    (told,) = re.findall(r"Honoured in a request: `([^`]*)`", README)
    without_effect = {"best_of", "cache_prompt", "store"}  # taken only where they ask for nothing
    assert set(told.split()) == (set(ChatBody.model_fields) | set(CompletionBody.model_fields)) - without_effect


@pytest.mark.parametrize("script", sorted(set(re.findall(r"`(scripts/[\w/.-]+)", README))))
def test_every_script_exists(script: str) -> None:
    assert (ROOT / script).exists()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"edged ((?:config )?[a-z]+)`", README))))
def test_every_command_exists(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert stop.value.code == 0
    assert "usage: edged" in capsys.readouterr().out


def test_the_settings_shown_are_the_defaults(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", README, flags=re.DOTALL)
    file = tmp_path / "edged.toml"
    file.write_text(block)
    shown = config.load(file, environ={}).model_dump()
    shown["models"]["default"] = None  # an example: no name could be a default
    assert shown == config.Config().model_dump()


def test_the_error_codes_exist() -> None:
    told = set(re.findall(r"\| \d{3} `(\w+)` \|", README))
    known = {getattr(errors, name).code for name in dir(errors) if hasattr(getattr(errors, name), "code")}
    assert told <= known
    assert told


def test_the_changelog_speaks_of_this_version() -> None:
    from edged import __version__

    assert f"## {__version__} " in (ROOT / "CHANGELOG.md").read_text()
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_the_figures_shown_were_published() -> None:
    log = (ROOT / "benchmarks" / "LOG.md").read_text()
    (table,) = re.findall(r"\| edged / llama-server \|.*?\n\n", README, flags=re.DOTALL)
    for row in table.strip().splitlines()[2:]:
        for figure, rival in zip(row.split("|")[2:4], ("tuned", "llama-server"), strict=True):
            assert not figure.strip() or f": edged / {rival} | {figure.strip()} | " in log, row
