"""Who may ask: names and origins."""

from __future__ import annotations

import pytest

from edged.api import guard
from edged.errors import Forbidden, HostNotAllowed

NAMES = frozenset({"localhost", "box", "box.local", "edged.local"})


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:8080", "LOCALHOST", "box", "Box.Local:80", "edged.local", "127.0.0.1", "127.0.0.1:8080",
        "192.168.1.20:8080", "[::1]", "[::1]:8080", "[fe80::1]", "10.0.0.1",
    ],
)  # fmt: skip
def test_our_names_and_addresses_are_ours(host: str) -> None:
    guard.check_host(host, NAMES)


@pytest.mark.parametrize(
    "host",
    [
        "", "evil.example", "evil.example:8080", "localhost.evil.example", "evil.example@localhost", "user@127.0.0.1",
        "user:pass@localhost", "localhost@evil.example", "127.0.0.1.evil.example", "127.0.0.1.nip.io", "boxx", "ox",
        "localhost/evil.example", "localhost\\evil.example", "localhost, evil.example", "localhost evil.example",
        "localhost:http", "localhost:99999", "localhost:-1", ":8080", "[::1", "::1]", "[evil]", "[]",
        "http://localhost", "localhost#evil", "localhost?evil", "0x7f.1", "2130706433", "localhost.", "lоcalhost",
    ],
)  # fmt: skip
def test_other_names_are_not(host: str) -> None:
    with pytest.raises(HostNotAllowed, match="allowed_hosts"):
        guard.check_host(host, NAMES)


@pytest.mark.parametrize(
    ("origin", "fetch_site", "host"),
    [
        (None, None, "localhost:8080"),
        (None, "none", "localhost:8080"),
        (None, "same-origin", "localhost:8080"),
        ("http://localhost:8080", "same-origin", "localhost:8080"),
        ("http://LOCALHOST:8080", None, "localhost:8080"),
        ("http://[::1]:8080", None, "[::1]:8080"),
        ("app://obsidian.md", "cross-site", "localhost:8080"),
        ("tauri://localhost", None, "localhost:8080"),
        ("vscode-webview://1abc", "cross-site", "localhost:8080"),
        ("vscode-file://vscode-app", None, "localhost:8080"),
    ],
)
def test_our_own_page_and_programs_may_ask(origin: str | None, fetch_site: str | None, host: str) -> None:
    guard.check_origin(origin, fetch_site, host)


@pytest.mark.parametrize(
    ("origin", "fetch_site"),
    [
        ("http://evil.example", None),
        ("http://evil.example", "cross-site"),
        ("http://localhost:3000", None),
        ("http://localhost", None),
        ("http://127.0.0.1:8080", None),
        ("http://localhost:8080.evil.example", None),
        ("http://localhost:8080@evil.example", None),
        ("null", None),
        ("", None),
        ("file://", None),
        (None, "cross-site"),
        (None, "same-site"),
        ("http://localhost:8080", "cross-site"),
        ("app:obsidian.md", None),
        ("apps://obsidian.md", None),
        ("http://app://obsidian.md", None),
        ("chrome-extension://abc", None),
    ],
)
def test_other_pages_may_not(origin: str | None, fetch_site: str | None) -> None:
    with pytest.raises(Forbidden):
        guard.check_origin(origin, fetch_site, "localhost:8080")


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "http://]"])
def test_an_origin_that_is_no_address_is_refused_and_nothing_worse(origin: str) -> None:
    with pytest.raises(Forbidden):
        guard.check_origin(origin, None, "localhost:8080")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
        ("::", False), ("192.168.1.2", False), ("box.local", False), ("", False), ("localhost.evil", False),
    ],
)  # fmt: skip
def test_what_reaches_no_further_than_this_machine(host: str, expected: bool) -> None:
    assert guard.is_loopback(host) is expected


def test_this_machine_knows_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Pi.local")

    assert guard.own_names() == {"localhost", "ip6-localhost", "pi", "pi.local", "edged.local"}
