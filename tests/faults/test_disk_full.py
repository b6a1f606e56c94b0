"""The disk that models and state are on is full (R6): who chats does not notice, who must write is told, and when there
is room again all goes on without a restart.

The disk is a real one, of 24 MiB in memory; mounting it takes root.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.asking import chunks, client_of, first_words, post
from tests.attacks.enduring import asking
from tests.daemon_process import DaemonProcess, running

DISK_BYTES = 24 * 2**20
CONFIG = '[models]\ndefault = "tiny"\n'


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "edged-test", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError as error:
        pytest.skip(f"there is no mount here: {error}")
    if done.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all that is left, to the last page."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    assert os.statvfs(disk).f_bavail == 0
    return filler


def asked(
    daemon: DaemonProcess, method: str, path: str, body: bytes, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    address, key = urlsplit(daemon.url), {"Authorization": f"Bearer {daemon.owners_key()}"}
    assert address.hostname
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **key, **(headers or {})})
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"{}")
    finally:
        connection.close()


def uploaded(daemon: DaemonProcess, name: str, content: bytes) -> tuple[int, dict[str, Any]]:
    """Bring a model here; the answer to the announcement where that is refused, else to the bytes."""
    told = {"name": name, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    status, answer = asked(daemon, "POST", "/edged/v1/imports", json.dumps(told).encode())
    if status not in (200, 201):
        return status, answer
    headers = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(answer["offset"])}
    return asked(daemon, "PATCH", f"/edged/v1/imports/{answer['id']}", content, headers)


def is_served(daemon: DaemonProcess, model: str = "tiny") -> bool:
    return post(daemon, asking(model)).status == 200


def test_r6_it_starts_on_a_full_disk_and_answers(disk: Path, tiny: Path) -> None:
    state = disk / "state"
    (state / "models").mkdir(parents=True)
    shutil.copyfile(tiny, state / "models/tiny.gguf")
    fill(disk)

    with running({}, CONFIG, state=state) as daemon:
        assert is_served(daemon)
        assert is_served(daemon, "guide")
        assert daemon.status()["residents"]
        assert daemon.requests()[0]["outcome"]
        assert "model_loaded" in daemon.events()
        assert "Traceback" not in daemon.log()


def test_r6_a_disk_that_fills_up_is_noticed_by_those_alone_who_must_write(disk: Path, tiny: Path) -> None:
    state, content = disk / "state", tiny.read_bytes()
    with running({"tiny": tiny}, CONFIG, state=state) as daemon, client_of(daemon) as client:
        worker = daemon.worker_pid("tiny")
        with chunks(client, "Go on.", model="tiny", max_tokens=2000, temperature=0) as stream:
            first_words(stream)
            filler = fill(disk)
            status, answer = uploaded(daemon, "new", content)
            assert (status, answer["error"]["code"]) == (507, "disk_full")
            assert sum(bool(chunk.choices[0].delta.content) for chunk in stream) > 100
        assert is_served(daemon)
        assert daemon.worker_pid("tiny") == worker
        assert {model["id"] for model in daemon.get("/v1/models")["data"]} == {"tiny", "guide"}
        assert "Traceback" not in daemon.log()

        filler.unlink()
        status, answer = uploaded(daemon, "new", content)
        assert status == 200, answer
        assert is_served(daemon, "new")
