"""How people are let in, and what an owner decides, in the browser: real Chromium, a device that others can reach."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from edged import control
from tests.daemon_process import DaemonProcess, running, until
from tests.end_to_end.browser import Page, chromium, requested_urls, set_language, set_phone

REACHABLE = '[http]\nhost = "0.0.0.0"\n'
CODE_IN_LOG = re.compile(r"enter the code ([0-9A-Z]{4}-[0-9A-Z]{4})")
NO_CODE = "22222222"


class Device:
    """A daemon as its owner has it at the console, and as anybody finds it on the network."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.daemon = daemon
        self.url = f"http://127.0.0.1:{urlsplit(daemon.url).port}/"

    def console(self, path: str, method: str = "GET", body: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the command line is answered."""
        return control.ask(self.daemon.control, f"/edged/v1/{path}", method, body)

    def code(self, role: str, name: str = "") -> str:
        """A new code; it also ends the pause after wrong ones."""
        found: str = self.console("users/invitations", "POST", {"role": role} | ({"name": name} if name else {}))[
            "code"
        ]
        return found

    def people(self) -> dict[str, str]:
        """Who there is: names with their roles."""
        return {user["name"]: user["role"] for user in self.console("users")["users"]}

    def ask(self, path: str, body: dict[str, Any] | None = None, key: str = "") -> tuple[int, dict[str, Any]]:
        """Status and answer that a program on the network gets."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        request = Request(self.url + path, json.dumps(body).encode() if body is not None else None, headers)
        try:
            with urlopen(request) as response:
                return response.status, json.load(response)
        except HTTPError as refusal:
            with refusal:
                return refusal.code, json.load(refusal)


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    """A device that has an owner already; nothing of it is open to everybody."""
    with running(config=REACHABLE + "[access]\nurl_keys = false\n") as daemon:
        device = Device(daemon)
        assert device.ask("edged/v1/claim", {"code": device.code("owner"), "name": "Ana"})[0] == 200
        yield device


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    with chromium() as started:
        yield started


@pytest.fixture
def browser(driver: Chrome) -> Iterator[Chrome]:
    """A browser that has never been anywhere."""
    driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    yield driver
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    set_language(driver, "en-US")


@pytest.fixture
def page(browser: Chrome, device: Device) -> Page:
    browser.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": device.url, "storageTypes": "local_storage"})
    return Page(browser, device.url)


def sign_in(page: Page, device: Device, role: str, name: str) -> None:
    """Make the browser that of somebody new."""
    page.driver.get(page.url + "icon.svg")
    status = page.driver.execute_async_script(
        """
        const [body, done] = arguments;
        const headers = { "Content-Type": "application/json" };
        fetch("/edged/v1/claim", { method: "POST", headers, body }).then((response) => done(response.status));
        """,
        json.dumps({"code": device.code(role), "name": name, "label": f"{name}'s browser"}),
    )
    assert status == 200


def open_door(page: Page, hash: str = "") -> None:
    """Open the page where one is let in."""
    page.driver.get("about:blank")  # else only the hash changes
    page.driver.get(page.url + "claim" + hash)
    page.until("document.getElementById('enter')?.hidden === false")


def open_people(page: Page) -> None:
    page.driver.get(page.url + "people")
    page.until("document.querySelector('#sessions li')")


def until_at(page: Page, path: str) -> None:
    page.until(f"location.pathname === {json.dumps(path)} && document.readyState === 'complete'")


def row(page: Page, list_id: str, text: str) -> WebElement:
    """The entry of a list that contains `text`."""
    page.until(
        f"[...document.querySelectorAll('#{list_id} li')].some((row) => row.innerText.includes({json.dumps(text)}))"
    )
    rows = page.driver.find_elements(By.CSS_SELECTOR, f"#{list_id} li")
    return next(row for row in rows if text in row.text)


def until_gone(page: Page, list_id: str, text: str) -> None:
    page.until(f"!document.getElementById('{list_id}').innerText.includes({json.dumps(text)})")


def press(place: WebElement, words: str) -> None:
    place.find_element(By.XPATH, f".//*[self::button or self::summary][normalize-space()={json.dumps(words)}]").click()


def refusal(page: Page) -> str:
    page.until("document.querySelector('.error')")
    return page.find(".error").text


def test_a_new_device_is_claimed_with_the_code_that_it_shows(browser: Chrome) -> None:
    with running(config=REACHABLE) as daemon:
        device = Device(daemon)
        page = Page(browser, device.url)
        browser.get(page.url)
        until_at(page, "/claim")
        page.until("document.getElementById('enter').hidden === false")
        code = until(lambda: CODE_IN_LOG.search(daemon.log()), "the code is shown")[1]

        assert page.find("h1").text == "Make this device yours."
        assert not page.find("#knock").is_displayed(), "there is nobody who could let in"
        page.find("#code").send_keys(NO_CODE + Keys.ENTER)
        assert "That is not the code" in refusal(page)
        assert device.people() == {}

        page.find("#code").send_keys(f" {code.lower().replace('0', 'o').replace('-', ' ')}")
        page.find("#name").send_keys("Ana" + Keys.ENTER)
        until_at(page, "/")
        page.ask("How do I add a model?")

        assert ".gguf" in page.answer
        assert device.people() == {"Ana": "owner"}
        assert page.find("#way").get_attribute("href") == page.url + "people"
        browser.get("about:blank")  # what the page still asks for is not the next test's


def test_an_invitation_is_a_link_whose_code_is_kept_nowhere_and_used_by_a_press(page: Page, device: Device) -> None:
    code = device.code("member", "Ben")
    open_door(page, f"#{code}")

    assert page.driver.current_url == page.url + "claim"
    assert page.find("#code").get_attribute("value") == code
    assert "Ben" not in device.people(), "opening a link is no consent"

    page.find("#come-in").click()
    until_at(page, "/")
    assert device.people()["Ben"] == "member"
    assert page.driver.execute_script("return document.cookie") == "", "scripts do not see the session"
    assert page.driver.execute_script("return JSON.stringify(localStorage)") == "{}"

    page.driver.get(page.url + "claim")
    until_at(page, "/")


def test_a_code_may_be_typed_in_many_ways(page: Page, device: Device) -> None:
    open_door(page)
    code = device.code("guest")
    for typed in (code.lower(), f" {code.replace('-', '')} ", f"http://box.local/claim#{code}"):
        page.find("#code").clear()
        page.find("#code").send_keys(typed)
        assert page.find("#code").get_attribute("value") == code


def test_what_cannot_be_a_code_costs_no_try(page: Page) -> None:
    open_door(page)
    requested_urls(page.driver)
    page.find("#code").send_keys("7K2M" + Keys.ENTER)

    assert "eight letters and digits" in refusal(page)
    assert page.driver.switch_to.active_element == page.find("#code")
    assert not [url for url in requested_urls(page.driver) if not url.endswith("/edged/v1/claim")]


def test_who_guesses_is_told_to_wait(page: Page, device: Device) -> None:
    device.code("guest")
    open_door(page)
    for _ in range(6):
        page.find("#code").send_keys(NO_CODE + Keys.ENTER)
        page.until("document.querySelector('.error') && document.getElementById('enter').ariaBusy === 'false'")
        if "Too many" in refusal(page):
            break

    assert re.search(r"Too many wrong codes were entered. Try again in about \d+ s", refusal(page))


def test_a_number_lets_in_who_waits(page: Page, device: Device) -> None:
    open_door(page)
    page.find("#ask").click()
    page.until("document.getElementById('number').textContent")
    number = page.find("#number").text
    assert [knock["number"] for knock in device.console("claim/requests")["requests"]] == [number]

    open_door(page)
    page.until("document.getElementById('number').textContent")
    assert page.find("#number").text == number, "a reload does not lose it"

    device.console("claim/requests/answers", "POST", {"number": number, "role": "guest", "name": "Cem"})
    until_at(page, "/")
    assert device.people()["Cem"] == "guest"


def test_who_is_not_let_in_is_told_and_may_ask_again(page: Page, device: Device) -> None:
    open_door(page)
    page.find("#ask").click()
    page.until("document.getElementById('number').textContent")
    device.console("claim/requests/answers", "POST", {"number": page.find("#number").text, "role": None})

    assert "You were not let in" in refusal(page)
    assert page.find("#ask").is_displayed()
    assert page.driver.execute_script("return localStorage.length") == 0


def test_an_owner_compares_the_number_and_lets_in(page: Page, device: Device) -> None:
    _, knock = device.ask("edged/v1/claim/requests", {"label": "<b>Phone</b>"})
    sign_in(page, device, "owner", "Dora")
    open_people(page)
    waiting = row(page, "knocks", knock["number"])

    assert "<b>Phone</b> · 127.0.0.1" in waiting.text
    waiting.find_element(By.CSS_SELECTOR, "input").send_keys("Eda")
    press(waiting, "Let in as member")
    until_gone(page, "knocks", knock["number"])
    assert device.ask(f"edged/v1/claim/requests/{knock['id']}")[1]["you"]["role"] == "member"
    assert "1 browser" in row(page, "users", "Eda").text


def test_an_owner_refuses(page: Page, device: Device) -> None:
    _, knock = device.ask("edged/v1/claim/requests", {"label": "Stranger"})
    sign_in(page, device, "owner", "Dora")
    open_people(page)
    press(row(page, "knocks", knock["number"]), "Refuse")

    until_gone(page, "knocks", knock["number"])
    assert device.ask(f"edged/v1/claim/requests/{knock['id']}")[0] == 404


def test_an_owner_invites(page: Page, device: Device) -> None:
    sign_in(page, device, "owner", "Dora")
    open_people(page)
    page.find("#invite input").send_keys("Finn")
    Select(page.find("#invite select")).select_by_value("guest")
    page.find("#invite > button").click()
    page.until("document.querySelector('#invitation code')")
    code, link = page.find("#invitation .number").text, page.find("#invitation code").text

    assert link == f"{page.url}claim#{code}"
    assert device.ask("edged/v1/claim", {"code": code})[1]["you"] | {"id": ""} == {
        "id": "",
        "name": "Finn",
        "role": "guest",
    }


def test_people_are_renamed_and_removed_and_one_owner_stays(page: Page, device: Device) -> None:
    sign_in(page, device, "owner", "Dora")
    device.ask("edged/v1/claim", {"code": device.code("guest"), "name": "<i>Gil</i>"})
    open_people(page)
    found = row(page, "users", "<i>Gil</i>")
    press(found, "Change")
    found.find_element(By.CSS_SELECTOR, "input").send_keys(" Noor")
    Select(found.find_element(By.CSS_SELECTOR, "select")).select_by_value("member")
    press(found, "Save")
    found = row(page, "users", "<i>Gil</i> Noor")
    assert device.people()["<i>Gil</i> Noor"] == "member"

    press(found, "Change")
    press(found, "Remove")
    assert "<i>Gil</i> Noor" in device.people(), "it is asked first"
    press(found, "Really remove <i>Gil</i> Noor?")
    until_gone(page, "users", "Noor")
    assert "<i>Gil</i> Noor" not in device.people()


def test_a_key_is_shown_once_and_opens_nothing_when_it_is_revoked(page: Page, device: Device) -> None:
    sign_in(page, device, "owner", "Dora")
    open_people(page)
    boxes = {
        box.get_attribute("value"): box for box in page.driver.find_elements(By.CSS_SELECTOR, "#create [type=checkbox]")
    }
    assert {name: box.is_enabled() for name, box in boxes.items()} == {
        "chat": True,
        "metrics": True,
        "cloud": False,
        "admin": False,
    }, "over plain HTTP anybody could read a key for the last two"

    page.find("#create input").send_keys("Kitchen radio")
    press(page.find("#create"), "Limits")
    page.find("[name=requests_per_day]").send_keys("50")
    page.find("#create > button").click()
    page.until("document.querySelector('#created code')")
    key = page.find("#created code").text
    assert device.ask("v1/models", key=key)[0] == 200
    assert "at most 50 requests a day" in row(page, "keys", "Kitchen radio").text

    open_people(page)
    made = row(page, "keys", "Kitchen radio")
    assert key not in page.driver.page_source
    press(made, "Revoke")
    press(made, "Really revoke Kitchen radio?")
    until_gone(page, "keys", "Kitchen radio")
    assert device.ask("v1/models", key=key)[0] == 401


@pytest.fixture
def unchanged(device: Device) -> Iterator[None]:
    """What a test switches on is off again for the next."""
    yield
    device.console("settings", "PATCH", {"access": {"lan_chat": False, "supervised": False}})


def switch(page: Page, words: str) -> WebElement:
    return page.find("#choices").find_element(By.XPATH, f".//label[normalize-space()={json.dumps(words)}]/input")


@pytest.mark.usefixtures("unchanged")
def test_where_everybody_may_chat_nobody_is_led_away(page: Page, device: Device) -> None:
    page.driver.get(page.url)
    until_at(page, "/claim")
    sign_in(page, device, "owner", "Dora")
    open_people(page)
    page.until("document.querySelector('#choices input')")
    switch(page, "Anyone on this network may chat").click()
    page.until("document.querySelector('#choices input').checked")
    assert device.console("settings")["access"]["lan_chat"]["value"] is True

    page.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    page.open()
    page.ask("How do I add a model?")
    assert ".gguf" in page.answer
    assert page.find("#way").get_attribute("href") == page.url + "claim"
    open_door(page)
    assert page.find("#chat").text == "Chat without signing in"


@pytest.mark.usefixtures("unchanged")
def test_a_supervised_device_says_so_on_every_screen(page: Page, device: Device) -> None:
    sign_in(page, device, "owner", "Dora")
    open_people(page)
    page.until("document.querySelector('#choices input')")
    assert not page.find("#supervised").is_displayed()
    switch(page, "Supervised").click()
    page.until("!document.getElementById('supervised').hidden")

    page.driver.get(page.url)
    page.until("!document.getElementById('supervised').hidden")
    page.ask("How do I add a model?")
    assert page.find("#supervised").is_displayed()
    page.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    open_door(page)
    assert "the owner of this device can read" in page.find("#supervised").text


def test_what_stands_in_the_configuration_cannot_be_switched(page: Page, device: Device) -> None:
    sign_in(page, device, "owner", "Dora")
    open_people(page)
    page.until("document.querySelector('#choices input')")

    assert not switch(page, "Keys in addresses").is_enabled()
    assert "configuration file" in page.find("#url_keys-about").text


def test_a_member_sees_their_own_browsers_and_signs_out(page: Page, device: Device) -> None:
    sign_in(page, device, "member", "Hana")
    open_people(page)

    assert page.find("h1").text == "You and your browsers"
    assert len(page.driver.find_elements(By.CSS_SELECTOR, "#sessions li")) == 1
    assert not [found for found in page.driver.find_elements(By.CSS_SELECTOR, ".owners") if found.is_displayed()]
    mine = row(page, "sessions", "Hana's browser")
    press(mine, "Sign out")
    press(mine, "Really sign out?")
    until_at(page, "/claim")


def test_who_is_signed_out_in_a_conversation_keeps_it(page: Page, device: Device) -> None:
    sign_in(page, device, "member", "Ines")
    page.open()
    page.ask("How do I add a model?")
    (session,) = (one for one in device.console("sessions")["sessions"] if one["label"] == "Ines's browser")
    device.console(f"sessions/{session['id']}", "DELETE")
    page.ask("And then?")

    assert "not signed in" in page.find(".error").text
    way = page.find(".error a")
    assert (way.get_attribute("href"), way.get_attribute("target")) == (page.url + "claim", "_blank")
    assert len(page.driver.find_elements(By.CSS_SELECTOR, ".question")) == 2


def misfits(page: Page) -> dict[str, Any]:
    """What is too wide for the screen, too small for a finger, or has no name for who cannot see it."""
    found: dict[str, Any] = page.driver.execute_script(
        """
        for (const details of document.querySelectorAll("details")) details.open = true;
        const { scrollWidth, clientWidth } = document.documentElement;
        const small = [...document.querySelectorAll("button, select, input:not([type=checkbox]), summary, .check, a")]
          .map((element) => [element.outerHTML.slice(0, 80), element.getBoundingClientRect()])
          .filter(([, { width, height }]) => width > 0 && (height < 44 || width < 44)).map(([html]) => html);
        return { tooWide: scrollWidth - clientWidth, small };
        """
    )
    tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "textbox", "combobox", "link", "checkbox", "switch", "spinbutton", "DisclosureTriangle"}
    usable = [node for node in tree if node.get("role", {}).get("value") in roles and not node["ignored"]]
    assert usable
    return found | {"nameless": [node for node in usable if not node.get("name", {}).get("value")]}


@pytest.mark.parametrize("width_px", [320, 390, 1280])
def test_both_pages_fit_screens_fingers_and_readers(page: Page, device: Device, width_px: int) -> None:
    set_phone(page.driver, width_px, 640)
    open_door(page)
    assert misfits(page) == {"tooWide": 0, "small": [], "nameless": []}

    sign_in(page, device, "owner", "unbreakable" * 6)
    open_people(page)
    page.until("document.querySelector('#choices input') && document.querySelector('#users li')")
    page.find("#invite > button").click()
    page.find("#create input").send_keys("w" * 80)
    page.find("#create > button").click()
    page.until("document.querySelector('#invitation code') && document.querySelector('#created code')")
    assert misfits(page) == {"tooWide": 0, "small": [], "nameless": []}
    row(page, "keys", "w" * 80)
    for key in device.console("keys")["keys"]:
        device.console(f"keys/{key['id']}", "DELETE")


def test_both_pages_in_chinese(page: Page, device: Device) -> None:
    set_language(page.driver, "zh-CN")
    open_door(page)
    assert page.find("h1").text == "请进。"
    page.find("#code").send_keys("7K2M" + Keys.ENTER)
    assert "八个字母和数字" in refusal(page)
    said = [page.find("body").text]

    sign_in(page, device, "owner", "Dora")
    open_people(page)
    page.until("document.querySelector('#choices input') && document.querySelector('#users li')")
    assert page.find("h1").text == "成员与密钥"
    said.append(page.find("body").text)
    for text in said:
        assert "undefined" not in text
        assert not re.search(r"\b(the|you|device)\b", text), text
