"""https as an owner has it: a daemon that is open, its authority installed, and a certificate of his own."""

from __future__ import annotations

import json
import re
import socket
import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from edged.tls.authority import Authority
from edged.tls.names import names_of
from tests.conftest import StartDaemon
from tests.daemon_process import DaemonProcess
from tests.end_to_end.test_cli import edged, refused

# Whoever is open speaks https by itself; loopback has to ask, and does not surprise the network of who runs the tests.
ASKED = {"EDGED_TLS__ENABLED": "true", "EDGED_TLS__PORT": "0"}
IDLE = "[models]\npreload = false\n"
OPEN = f"{IDLE}[http]\nopen = true\nhost = '0.0.0.0'\n"
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "seed": 1}


def https_of(daemon: DaemonProcess) -> str:
    found = re.search(r"listening .*?(https://\S+)", daemon.log())
    assert found, daemon.log()
    return found[1]


def test_phones_trust_what_edged_trust_hands_out_and_chat_over_it(
    tiny: Path, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    daemon = start_daemon({"tiny": tiny}, environment=ASKED)
    https = https_of(daemon)

    told = edged("trust", "--state-dir", daemon.state_dir, "--out", tmp_path / "ca.crt")
    assert told.returncode == 0, told.stderr
    body = json.loads(edged("trust", "--json", "--state-dir", daemon.state_dir).stdout)
    assert body["authority"]["fingerprint_sha256"] in told.stdout
    assert body["https"] == [https]
    with urlopen(body["authority"]["url"]) as response:
        assert response.read().decode() == (tmp_path / "ca.crt").read_text() == body["authority"]["certificate"]

    trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    asked = Request(f"{https}/v1/chat/completions", json.dumps(CHAT).encode(), {"Content-Type": "application/json"})
    with urlopen(asked, context=trusting) as response:
        assert json.load(response)["usage"]["completion_tokens"] == 4
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        urlopen(https, context=ssl.create_default_context())
    assert {stat.S_IMODE(file.stat().st_mode) for file in (daemon.state_dir / "tls").iterdir()} == {0o600}


def test_a_device_that_speaks_to_itself_alone_makes_no_keys(edged_daemon: DaemonProcess) -> None:
    assert "https" not in edged_daemon.log()
    assert not (edged_daemon.state_dir / "tls").exists()
    assert "no https" in refused(edged("trust", "--state-dir", edged_daemon.state_dir))


def test_an_open_device_speaks_https_and_goes_on_without_where_the_port_is_taken(start_daemon: StartDaemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        # Taken on one interface is taken for whoever wants all of them.
        daemon = start_daemon(config=OPEN, environment={"EDGED_TLS__PORT": str(port)}, wait=False)
        assert daemon.get("/healthz")
        assert "tls_off" in daemon.events()
        assert f"port {port}" in daemon.log()
    open_one = start_daemon(config=OPEN, environment={"EDGED_TLS__PORT": "0"}, wait=False)
    assert https_of(open_one)
    assert "certificate" in open_one.events()


def test_whoever_asks_for_https_is_refused_where_its_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = ("serve", "--port", "0", "--state-dir", tmp_path / "state")
        said = refused(edged(*words, environment={"EDGED_TLS__ENABLED": "true", "EDGED_TLS__PORT": port}))

    assert f"port {port}" in said
    assert "[tls] enabled = false" in said


@pytest.fixture
def company(tmp_path: Path) -> Authority:
    """An authority that is not the device's, and in tmp_path a certificate below it for this machine."""
    authority = Authority.made(names_of(["box.example"], []), datetime.now(UTC))
    key = tmp_path / "both.pem"
    key.touch(mode=0o600)
    key.write_text(authority.issue(names_of(["box.example"], []), datetime.now(UTC)))
    return authority


def test_a_certificate_of_ones_own_is_shown(company: Authority, tmp_path: Path, start_daemon: StartDaemon) -> None:
    file = tmp_path / "both.pem"
    daemon = start_daemon(
        config=IDLE, environment={"EDGED_TLS__CERTIFICATE": str(file), "EDGED_TLS__PORT": "0"}, wait=False
    )
    trusting = ssl.create_default_context(cadata=company.public_pem)

    port = int(https_of(daemon).rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        trusting.wrap_socket(plain, server_hostname="box.example") as connection,
    ):
        assert ("DNS", "box.example") in (connection.getpeercert() or {})["subjectAltName"]
    assert "nothing to install" in edged("trust", "--state-dir", daemon.state_dir).stdout
    assert "yours" in refused(edged("trust", "--out", tmp_path / "x", "--state-dir", daemon.state_dir))


def test_a_key_that_others_can_read_keeps_the_device_from_starting(company: Authority, tmp_path: Path) -> None:
    file = tmp_path / "both.pem"
    file.chmod(0o644)
    words = ("serve", "--port", "0", "--state-dir", tmp_path / "state")
    environment = {"EDGED_TLS__CERTIFICATE": str(file), "EDGED_TLS__PORT": "0"}

    assert f"chmod 600 {file}" in refused(edged(*words, environment=environment))
    file.chmod(0o600)
    other = tmp_path / "other.pem"
    other.touch(mode=0o600)
    other.write_text(company.issue(names_of(["box.example"], []), datetime.now(UTC)))
    said = refused(edged(*words, environment={**environment, "EDGED_TLS__KEY": str(other)}))
    assert f"{other} is not the key of the certificate {file}" in said
