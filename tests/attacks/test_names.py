"""Names of models that mean something else to a file system (F1), in every dialect and on every path that takes one.

And things in the models folder that are no files of their owner's (F2): none is listed, opened, or waited for.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.asking import post
from tests.attacks.enduring import TRACES, asking
from tests.conftest import StartDaemon
from tests.daemon_process import DaemonProcess, running

HOSTILE = {
    "up": "../secret",
    "up and down": "tiny/../../secret",
    "absolute": "/etc/passwd",
    "absolute file": "/etc/hostname.gguf",
    "backslashes": r"a\..\..\secret",
    "a NUL": "tiny\0",
    "a NUL in front of an ending": "../secret\0.gguf",
    "a device": "CON",
    "300 characters": "x" * 300,
    "dots of another kind": "․․/secret",
    "right to left": "‮ffug.ynit",
    "quoted dots": "%2e%2e%2fsecret",
    "quoted twice": "%252e%252e%252fsecret",
    "a dot": ".",
    "two dots": "..",
    "a tilde": "~/secret",
    "an option": "-rf",
    "a line break": "tiny\nsecret",
    "a tag of dots": "tiny:../secret",
    "five steps": "a/b/c/d/e",
    "a URL": "file:///etc/passwd",
    "the lock": ".lock",
    "a record": "../names/tiny.json",
}
# The paths that take a model's name in a body, by the name of the field; and whatever else their bodies need.
ASKING: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1},
    "/v1/completions": {"prompt": "Hi", "max_tokens": 1},
    "/v1/responses": {"input": "Hi", "max_output_tokens": 16},
    "/v1/embeddings": {"input": "Hi"},
    "/v1/rerank": {"query": "Hi", "documents": ["Hello"]},
    "/v1/messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1},
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "Hi"}]},
    "/api/chat": {"messages": [{"role": "user", "content": "Hi"}], "stream": False},
    "/api/generate": {"prompt": "Hi", "stream": False},
    "/api/embed": {"input": "Hi"},
    "/api/embeddings": {"prompt": "Hi"},
    "/api/show": {},
    "/tokenize": {"content": "Hi"},
    "/detokenize": {"tokens": [1]},
    "/apply-template": {"messages": [{"role": "user", "content": "Hi"}]},
}


@pytest.fixture(scope="module")
def daemon(tiny: Path) -> Iterator[DaemonProcess]:
    """One without aliases for everything; beside its models lies a file that is nobody's business."""
    with running({"tiny": tiny}, '[models]\ndefault = "tiny"\n') as daemon:
        shutil.copyfile(tiny, daemon.state_dir / "secret.gguf")
        yield daemon


def said(daemon: DaemonProcess, method: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
    """Status and body of any request; the path goes out as it is."""
    address = urlsplit(daemon.url)
    assert address.hostname
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {daemon.owners_key()}"}
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    try:
        connection.request(method, path, json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"{}")
    finally:
        connection.close()


def check_refused(status: int, answer: dict[str, Any]) -> None:
    error = answer["error"]
    message = error["message"] if isinstance(error, dict) else error
    assert status in (400, 404), answer
    assert not [trace for trace in (*TRACES, "root:") if trace in message], message
    assert len(message) < 600


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_f1_a_name_that_means_a_path_means_nobody_anywhere(daemon: DaemonProcess, name: str) -> None:
    for path, fields in ASKING.items():
        check_refused(*said(daemon, "POST", path, {"model": name, **fields}))
    check_refused(*said(daemon, "POST", "/api/copy", {"source": name, "destination": "fine"}))
    check_refused(*said(daemon, "DELETE", "/api/delete", {"model": name}))
    check_refused(*said(daemon, "GET", f"/v1/models/{quote(name, safe='')}", None))

    assert [model["id"] for model in daemon.get("/v1/models")["data"]] == ["tiny", "guide"]
    assert (daemon.state_dir / "secret.gguf").exists()


@pytest.mark.parametrize("name", sorted(HOSTILE.keys() - {"a device"}))
def test_f1_nothing_is_called_so_that_is_here(daemon: DaemonProcess, name: str) -> None:
    before = sorted(daemon.state_dir.rglob("*.gguf"))

    check_refused(*said(daemon, "POST", "/api/copy", {"source": "tiny", "destination": HOSTILE[name]}))
    assert sorted(daemon.state_dir.rglob("*.gguf")) == before


def test_f1_a_prefix_of_a_path_is_no_way_around_it(daemon: DaemonProcess) -> None:
    for path in ("/v1/models/../models/tiny/..%2f..%2fsecret", "/v1/models/%2e%2e/%2e%2e/secret", "/v1//models/tiny"):
        status, _ = said(daemon, "GET", path, None)
        assert status in (400, 404)


def test_f2_only_files_of_their_owner_are_models(start_daemon: StartDaemon, tiny: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.gguf"
    shutil.copyfile(tiny, outside)
    daemon = start_daemon({"tiny": tiny}, '[models]\ndefault = "tiny"\n')
    folder = daemon.state_dir / "models"
    (folder / "link.gguf").symlink_to(outside)
    (folder / "dangling.gguf").symlink_to("nowhere.gguf")
    (folder / "loop.gguf").symlink_to("loop.gguf")
    (folder / "folder.gguf").mkdir()
    (folder / "null.gguf").symlink_to("/dev/zero")
    os.mkfifo(folder / "fifo.gguf")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket.gguf"))

        assert [model["id"] for model in daemon.get("/v1/models")["data"]] == ["tiny", "guide"]
        for name in ("link", "dangling", "loop", "folder", "null", "fifo", "socket"):
            assert post(daemon, asking(name)).status == 404
    assert post(daemon, asking()).status == 200


def test_f2_a_model_that_turns_into_a_link_is_none_any_more(
    start_daemon: StartDaemon, tiny: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.gguf"
    shutil.copyfile(tiny, outside)
    daemon = start_daemon({"tiny": tiny, "other": tiny}, '[models]\ndefault = "tiny"\n')
    file = daemon.state_dir / "models/other.gguf"
    file.unlink()
    file.symlink_to(outside)

    assert post(daemon, asking("other")).status == 404
    assert said(daemon, "DELETE", "/api/delete", {"model": "other"})[0] == 404
    assert outside.exists()


def test_f2_a_second_name_of_a_file_outside_is_deleted_as_a_name_alone(
    start_daemon: StartDaemon, tiny: Path, tmp_path: Path
) -> None:
    """A hard link is the owner's doing: the file is a model, and deleting it leaves what it is elsewhere."""
    daemon = start_daemon({"tiny": tiny}, '[models]\ndefault = "tiny"\n')
    outside = daemon.state_dir / "outside.gguf"
    shutil.copyfile(tiny, outside)
    (daemon.state_dir / "models/hard.gguf").hardlink_to(outside)

    assert post(daemon, asking("hard")).status == 200
    assert said(daemon, "DELETE", "/api/delete", {"model": "hard"})[0] == 200
    assert outside.read_bytes() == tiny.read_bytes()
