"""The page that describes what can be asked, as somebody with a phone reads it: real Chromium, the real daemon."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import Chrome

from tests.daemon_process import DaemonProcess
from tests.end_to_end.browser import Page, chromium, requested_urls, set_phone


@pytest.fixture(scope="module")
def page(edged_daemon: DaemonProcess) -> Iterator[Page]:
    with chromium() as driver:
        requested_urls(driver)
        page = Page(driver, edged_daemon.url.rstrip("/") + "/docs")
        driver.get(page.url)
        yield page


def open_all(driver: Chrome) -> None:
    driver.execute_script("for (const entry of document.querySelectorAll('details')) entry.open = true")


def test_it_comes_from_this_device_alone_and_needs_no_script(page: Page) -> None:
    addresses = [urlsplit(url) for url in requested_urls(page.driver) if not url.startswith(("data:", "chrome"))]

    assert {address.netloc for address in addresses} == {urlsplit(page.url).netloc}
    assert {address.path for address in addresses} <= {"/docs", "/style.css", "/docs.css", "/icon.svg"}


@pytest.mark.parametrize("width_px", [320, 390, 1280])
def test_nothing_is_wider_than_the_screen(page: Page, width_px: int) -> None:
    set_phone(page.driver, width_px, 800)
    page.driver.get(page.url)
    open_all(page.driver)
    wide = page.driver.execute_script("return document.documentElement.scrollWidth - innerWidth")

    assert wide <= 0


def test_a_link_to_what_is_folded_away_opens_it(page: Page) -> None:
    page.driver.get(page.url)
    page.driver.get(page.url + "#shape-ChatCompletion")

    page.until("document.getElementById('shape-ChatCompletion').closest('details').open")
    assert "choices" in page.find("#shape-ChatCompletion").text
