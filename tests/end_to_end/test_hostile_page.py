"""W1 to W6: what pages of others can do with a device whose owner is signed in, in the same real Chromium: nothing.

The hostile page is served from a name of the web, and from another port of the device's own address, which browsers
count as the same site, so that they send it the cookies of a strict site as well.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from edged import control
from tests.daemon_process import DaemonProcess, running, until
from tests.end_to_end.browser import chromium

EVIL, REBOUND = "evil.example", "rebound.example"
# What every attempt is about; each has an answer that would tell something or a body that would change something.
READ = ("edged/v1/users", "edged/v1/keys", "edged/v1/settings", "v1/models", "edged/v1/requests", "metrics")
WRITE = {
    "edged/v1/users/invitations": '{"role": "owner"}',
    "edged/v1/sessions/invitations": "",
    "edged/v1/keys": '{"name": "mine"}',
    "edged/v1/tokens": "{}",
    "edged/v1/pulls": '{"model": "qwen"}',
    "edged/v1/scrub": "",
    "v1/chat/completions": '{"messages": [{"role": "user", "content": "Hello"}]}',
    "api/generate": '{"model": "guide", "prompt": "Hello"}',
}
# Tries everything that a page can try, and tells what it could read.
ATTACK = """
const [device, reads, writes, done] = arguments;
const told = [];
const tries = [];
const settled = (promise) => tries.push(promise.catch(() => {}));
const patient = (work) => new Promise((end) => { work(end); setTimeout(end, 3000); });
for (const path of reads) {
  for (const credentials of ["include", "omit"])
    settled(fetch(device + path, { credentials }).then((answer) => told.push(`${path} was read: ${answer.status}`)));
  settled(patient((end) => {
    const script = Object.assign(document.createElement("script"), { src: device + path, onerror: end });
    script.onload = () => { told.push(`${path} is a script`); end(); };
    document.head.append(script);
  }));
  settled(patient((end) => {
    const frame = Object.assign(document.createElement("iframe"), { src: device + path });
    frame.onload = () => {
      try { if (frame.contentDocument.URL !== "about:blank") told.push(`${path} is in a frame`); } catch {}
      end();
    };
    document.body.append(frame);
  }));
}
for (const [path, body] of Object.entries(writes)) {
  const json = { "Content-Type": "application/json" };
  for (const init of [
    { mode: "no-cors", headers: { "Content-Type": "text/plain" } },
    { mode: "no-cors", headers: { "Content-Type": "application/x-www-form-urlencoded" } },
    { mode: "cors", headers: json },
    { mode: "cors", headers: { ...json, "X-Forwarded-For": "127.0.0.1" } },
  ])
    settled(fetch(device + path, { method: "POST", credentials: "include", body: body || null, ...init })
      .then((answer) => { if (answer.type !== "opaque") told.push(`${path} was sent: ${answer.status}`); }));
  navigator.sendBeacon(device + path, new Blob([body], { type: "text/plain" }));
  settled(patient((end) => {
    const target = Object.assign(document.createElement("iframe"), { name: path, onload: end });
    const form = Object.assign(document.createElement("form"),
      { action: device + path, method: "post", enctype: "text/plain", target: path });
    const field = Object.assign(document.createElement("input"), { name: body.slice(0, -1), value: "}" });
    form.append(field);
    document.body.append(target, form);
    form.submit();
  }));
}
settled(patient((end) => {
  const events = new EventSource(`${device}edged/v1/events`, { withCredentials: true });
  events.onmessage = () => { told.push("events were read"); end(); };
  events.onerror = () => { events.close(); end(); };
}));
settled(patient((end) => {
  const socket = new WebSocket(device.replace("http", "ws") + "edged/v1/events");
  socket.onopen = () => { told.push("a socket was opened"); end(); };
  socket.onerror = end;
}));
Promise.all(tries).then(() => done(told));
"""
ENTER = """
const [code, done] = arguments;
const init = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ code }) };
fetch("edged/v1/claim", init).then((answer) => done(answer.status));
"""


class Device:
    """A claimed daemon, in a browser in which its owner is signed in."""

    def __init__(self, daemon: DaemonProcess, driver: Chrome) -> None:
        self.daemon = daemon
        self.driver = driver
        self.port = urlsplit(daemon.url).port
        self.url = f"http://127.0.0.1:{self.port}/"

    def owned(self) -> dict[str, Any]:
        """All that an attacker might want to change."""
        asked = ("users", "sessions", "keys", "settings", "pulls", "scrub", "requests")
        found = {path: control.ask(self.daemon.control, f"/edged/v1/{path}") for path in asked}
        for session in found["sessions"]["sessions"]:
            del session["used_s"]  # a browser that asks was there, whatever it is told
        return found


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    config = '[http]\nhost = "0.0.0.0"\nconnections_per_address = 256\n'
    with running(config=config) as daemon, chromium(EVIL, REBOUND) as driver:
        found = Device(daemon, driver)
        code = control.ask(daemon.control, "/edged/v1/users/invitations", "POST", {"role": "owner"})["code"]
        driver.get(f"{found.url}claim")
        enter = (
            "const [code, done] = arguments; fetch('edged/v1/claim', {method: 'POST', body: JSON.stringify({code}), "
        )
        enter += "headers: {'Content-Type': 'application/json'}}).then((answer) => done(answer.status));"
        assert driver.execute_async_script(enter, code) == 200
        driver.get(f"{found.url}people")
        until(lambda: driver.find_elements(By.CSS_SELECTOR, "#sessions li"), "its owner is signed in")
        yield found


@contextmanager
def hostile_site() -> Iterator[int]:
    """The port of a server with an empty page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>hostile</title><body>")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("name", [EVIL, "127.0.0.1"])
def test_w2_w3_another_sites_page_reads_and_changes_nothing_although_the_owner_is_signed_in(
    device: Device, name: str
) -> None:
    before = device.owned()
    with hostile_site() as port:
        device.driver.get(f"http://{name}:{port}/")
        device.driver.set_script_timeout(30)
        told = device.driver.execute_async_script(ATTACK, device.url, READ, WRITE)

    assert told == []
    assert device.owned() == before


def test_w1_a_name_that_leads_here_is_not_answered(device: Device) -> None:
    before = device.owned()
    for path in ("", "people", *READ):
        device.driver.get(f"http://{REBOUND}:{device.port}/{path}")
        assert "is not called" in device.driver.find_element(By.TAG_NAME, "body").text, path
    # A page that came from elsewhere under this name, before it led here, has no cookie and gets the same.
    assert device.driver.get_cookies() == []
    assert device.owned() == before


@pytest.mark.parametrize("path", ["/", "/people", "/v1/models", "/edged/v1/users", "/nowhere", "/healthz"])
def test_w6_every_answer_says_what_browsers_must_not_do_with_it(device: Device, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", device.port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()

    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"]
    assert "Access-Control-Allow-Origin" not in answer.headers
