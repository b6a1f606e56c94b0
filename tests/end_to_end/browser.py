"""A real Chromium for the tests of the page, cut off from every host but this machine, with a log of its requests."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

pytest.importorskip("selenium", reason="selenium is not installed: scripts/test installs it")

from selenium.webdriver import Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

WAIT_S = 30.0  # the first question also loads the model, on a machine that may be busy with other tests

_SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # Chromium refuses its sandbox to root, which is who runs tests in a container
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",  # /dev/shm is 64 MB in many containers
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=en-US",
)
_END_S = 10.0  # a browser that has been told to quit takes well under a second


def _program(*names: str) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"{names[0]} is not installed: on Debian, apt-get install chromium chromium-driver")
    return found


@contextmanager
def chromium(*names: str) -> Iterator[Chrome]:
    """A fresh browser with an empty profile, for which `names` mean this machine.

    Afterwards none of its processes is left.
    """
    options = ChromeOptions()
    options.binary_location = _program("chromium", "chromium-browser", "google-chrome")
    service = ChromeService(_program("chromedriver", "chromium.chromedriver"))
    for switch in _SWITCHES:
        options.add_argument(switch)
    rules = [*(f"MAP {name} 127.0.0.1" for name in names), "MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1"]
    options.add_argument(f"--host-resolver-rules={', '.join(rules)}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})

    with tempfile.TemporaryDirectory(prefix="edged-chromium-", ignore_cleanup_errors=True) as profile:
        options.add_argument(f"--user-data-dir={profile}")
        driver = Chrome(options=options, service=service)
        root = psutil.Process(service.process.pid)
        processes = [root, *root.children(recursive=True)]
        try:
            yield driver
        finally:
            driver.quit()
            _, alive = psutil.wait_procs(processes, timeout=_END_S)
            for process in alive:
                process.kill()
        assert not alive, f"the browser left processes behind: {alive}"


def requested_urls(driver: Chrome) -> list[str]:
    """Every address that the browser asked for since the last call, as its own network log has it."""
    urls: list[str] = []
    for entry in driver.get_log("performance"):  # type: ignore[no-untyped-call]
        message: dict[str, Any] = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            urls.append(message["params"]["request"]["url"])
        elif message["method"] in ("Network.webSocketCreated", "Network.webTransportCreated"):
            urls.append(message["params"]["url"])
    return urls


def set_offline(driver: Chrome, *, offline: bool) -> None:
    """Cut the browser's network as a lost Wi-Fi does, or restore it."""
    unlimited = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": offline, **unlimited})


def set_phone(driver: Chrome, width_px: int, height_px: int) -> None:
    """Show the page as a phone with a screen of this size does."""
    screen = {"width": width_px, "height": height_px, "deviceScaleFactor": 2, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def set_language(driver: Chrome, language: str) -> None:
    agent = driver.execute_script("return navigator.userAgent")
    driver.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": language})


class Page:
    """The page in a browser, in the words of its user."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self) -> None:
        """Open the page and wait until it has asked the daemon all that it asks by itself."""
        self.driver.get(self.url)
        self.until("performance.getEntriesByName(new URL('readyz', location)).length")

    def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        WebDriverWait(self.driver, WAIT_S, poll_frequency=0.05).until(
            lambda driver: driver.execute_script(f"return Boolean({condition})"), f"never true: {condition}"
        )

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def type(self, text: str) -> None:
        self.find("#question").send_keys(text)

    def ask(self, question: str) -> None:
        """Send a question and wait for the end of its answer, whatever the end is."""
        answers = len(self.driver.find_elements(By.CSS_SELECTOR, ".answer"))
        self.type(question + Keys.ENTER)
        self.until(f"document.querySelectorAll('.answer').length === {answers + 1}")
        self.until_answered()

    def until_answered(self) -> None:
        self.until("document.querySelector('.answer:last-child').ariaBusy === 'false'")

    @property
    def answer(self) -> str:
        """The text of the newest answer."""
        return self.find(".answer:last-child .prose").text

    def show_markdown(self, text: str) -> None:
        """Show a text as an answer is shown: through the page's own module, growing as it does while it streams."""
        self.driver.execute_async_script(
            """
            const [text, done] = arguments;
            import("/markdown.js").then(({ MarkdownView }) => {
              const answer = document.createElement("article");
              const prose = document.createElement("div");
              answer.className = "answer";
              prose.className = "prose";
              answer.append(prose);
              document.getElementById("conversation").append(answer);
              const view = new MarkdownView(prose);
              const step = Math.ceil(text.length / 200);
              for (let end = 1; end < text.length; end += step) view.show(text.slice(0, end));
              view.show(text);
              requestAnimationFrame(() => requestAnimationFrame(done)); // whatever would load or run has begun to
            });
            """,
            text,
        )
