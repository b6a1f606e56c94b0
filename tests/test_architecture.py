"""The shape of the package: imports go down only, start-up stays light, and the map in edged/README.md is true."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "edged"
# Top to bottom; a module imports only from rows below its own.
ROWS = (
    {"__main__"},
    {"commands"},
    {"daemon", "console"},
    {"api", "doctor", "bench", "control"},
    {"routing", "metrics", "several", "advice", "access"},
    {"local", "observe", "pull", "demands"},
    {"speech"},
    {"store", "host", "framing", "catalogue", "tls"},
    {"wire", "gguf"},
    {"token_wire"},
    {"template_wire", "completion", "remembered"},
    {"chat", "config", "checked", "prefix_wire", "shares", "durable", "database", "cells", "load_wire", "redaction"},
    {"sampling", "misconfigured", "plain"},
    {"secret"},
    {"errors"},
)
# The children stand aside: nobody imports them, and they know only this.
WORKER_MAY_IMPORT = {
    "wire",
    "template_wire",
    "token_wire",
    "prefix_wire",
    "shares",
    "cells",
    "load_wire",
    "framing",
    "chat",
    "completion",
    "sampling",
    "errors",
    "worker",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(dotted: str) -> str:
    """edged.local.pool → local; the package itself has no room."""
    return [*dotted.split("."), ""][1]


def imported(file: Path) -> Iterator[str]:
    """Every module of ours that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "edged")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "edged":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations(file: Path) -> Iterator[str]:
    here = room("edged." + ".".join(file.relative_to(PACKAGE).with_suffix("").parts))
    for target in imported(file):
        there = room(target)
        if here == there or there in ("", "__version__"):
            continue
        if here == "worker":
            allowed = there in WORKER_MAY_IMPORT
        else:
            below = [row for row, names in enumerate(ROWS) if there in names]
            own = next(row for row, names in enumerate(ROWS) if here in names)
            allowed = bool(below) and below[0] > own
        if not allowed:
            yield f"{file.relative_to(PACKAGE)}: {here} may not import {there}"


def test_imports_go_down_only() -> None:
    assert [sentence for file in modules() for sentence in violations(file)] == []


def test_an_upward_import_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "pool.py").write_text("from edged.api import server\nimport edged.worker.context\n")
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    assert list(violations(tmp_path / "local" / "pool.py")) == [
        "local/pool.py: local may not import api",
        "local/pool.py: local may not import worker",
    ]


def loaded_by(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after `statement`."""
    program = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_daemon_loads_no_engine_no_numpy_and_no_templates() -> None:
    assert loaded_by("import edged.daemon") & {"llama_cpp", "numpy", "jinja2", "torch"} == set()


def test_the_daemon_loads_no_certificates_before_they_are_needed() -> None:
    assert "cryptography" not in loaded_by("import edged.daemon")


def test_a_worker_loads_the_bindings_without_what_their_package_drags_in() -> None:
    loaded = loaded_by("import edged.worker.__main__, sys\nassert 'llama_cpp.llama_cpp' in sys.modules")
    assert loaded & {"aiohttp", "asyncio", "numpy", "jinja2", "diskcache", "pydantic"} == set()


def test_a_template_process_loads_neither_the_engine_nor_the_web() -> None:
    assert loaded_by("import edged.worker.template") & {"llama_cpp", "numpy", "aiohttp", "pydantic"} == set()


def test_the_quick_commands_load_no_web_server() -> None:
    assert loaded_by("import edged.__main__") & {"aiohttp", "uvloop", "llama_cpp"} == set()


def test_the_map_names_every_module_and_no_ghost() -> None:
    text = (PACKAGE / "README.md").read_text()
    named = set(re.findall(r"^\| `([\w/]+\.py)` \|", text, flags=re.MULTILINE))
    existing = {file.relative_to(PACKAGE).as_posix() for file in modules() if file.name != "__init__.py"}
    assert named == existing


def test_the_path_of_a_request_names_functions_that_exist() -> None:
    text = (PACKAGE / "README.md").read_text()
    steps = re.findall(r"^\d+ +`([\w/]+\.py)` +`([\w.]+)`", text, flags=re.MULTILINE)
    assert len(steps) >= 8
    for file, name in steps:
        assert re.search(rf"\b(def|class) {name.split('.')[-1]}\b", (PACKAGE / file).read_text()), (file, name)


def test_the_rows_in_the_map_are_the_rows_that_are_held() -> None:
    text = (PACKAGE / "README.md").read_text()
    drawn = [
        set(re.findall(r"[\w]+", line.split(" ", 2)[2])) for line in text.splitlines() if re.match(r"row \d+ ", line)
    ]
    assert drawn == [set(names) for names in ROWS]


def test_no_module_is_a_novel() -> None:
    long = {file.relative_to(PACKAGE).as_posix(): len(file.read_text().splitlines()) for file in modules()}
    assert {name: lines for name, lines in long.items() if lines > 360} == {}
