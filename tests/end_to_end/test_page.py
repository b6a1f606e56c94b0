"""The page, used as a person uses it: real Chromium, the daemon as a process, the real `guide`, no network beyond."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By

from tests.daemon_process import DaemonProcess
from tests.end_to_end.browser import Page, chromium, requested_urls, set_language, set_offline, set_phone
from tests.end_to_end.hostile_markdown import HARMLESS_ATTRIBUTES, HARMLESS_ELEMENTS, HOSTILE

FIRST_LOAD_BYTES = 60 * 1024  # one second at half a megabit per second, a bad Wi-Fi


class Daemon(Protocol):
    """What the tests need of the daemon's fixture."""

    @property
    def url(self) -> str: ...


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(driver: Chrome, edged_daemon: DaemonProcess) -> Iterator[Page]:
    """The page, opened by somebody who has never been here."""
    page = Page(driver, edged_daemon.url.rstrip("/") + "/")
    driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": page.url, "storageTypes": "local_storage"})
    requested_urls(driver)
    page.open()
    yield page
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def requests_of(daemon: DaemonProcess) -> list[dict[str, Any]]:
    """The daemon's own record of what it was asked."""
    return daemon.requests()


def overflow_px(page: Page) -> int:
    width: int = page.driver.execute_script(
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return width


def test_a_typed_question_is_answered_by_the_guide(page: Page) -> None:
    page.ask("How do I add a model?")

    assert page.find(".question").text == "How do I add a model?"
    assert ".gguf" in page.answer
    badge = page.find(".answer .badge").text
    assert badge.startswith("guide · on this device · first word ")
    assert page.find("#guide").is_displayed(), "the page says that the guide is only the guide"


def test_an_example_is_a_question_of_one_click(page: Page) -> None:
    page.find(".example").click()
    page.until("document.querySelector('.answer')")
    page.until_answered()

    assert page.answer
    assert not page.find("#welcome").is_displayed()


def test_a_second_question_brings_the_conversation_along(page: Page) -> None:
    page.driver.execute_script(
        """
        window.sent = [];
        const original = window.fetch;
        window.fetch = (path, options) => {
          if (options?.body) window.sent.push(JSON.parse(options.body).messages.map((message) => message.role));
          return original(path, options);
        };
        """
    )
    page.ask("How do I add a model?")
    page.ask("Can my phone use it?")

    assert page.driver.execute_script("return window.sent") == [["user"], ["user", "assistant", "user"]]


def test_new_chat_forgets_the_old_one(page: Page) -> None:
    page.ask("How do I add a model?")
    page.find("#new-chat").click()

    assert page.find("#welcome").is_displayed()
    assert page.driver.find_elements(By.CSS_SELECTOR, ".answer, .question") == []


def test_stop_stops_the_model_and_keeps_what_was_said(page: Page, edged_daemon: DaemonProcess) -> None:
    # Inside this expression the end cannot be drawn before ten thousand letters: the answer would go on for seconds.
    page.driver.execute_script(
        """
        const original = window.fetch;
        window.fetch = (path, options) => {
          if (!options?.body) return original(path, options);
          window.fetch = original; // this one question only
          const endless = { regex: "([a-z ]{100}){100}", max_tokens: 4000 };
          const body = JSON.stringify({ ...JSON.parse(options.body), ...endless });
          return original(path, { ...options, body });
        };
        new MutationObserver((_, observer) => {
          if (!document.querySelector(".prose")?.textContent) return;
          observer.disconnect();
          document.getElementById("stop").click();
        }).observe(document.getElementById("conversation"), { childList: true, subtree: true });
        """
    )
    page.ask("How do I add a model?")

    kept = page.answer
    assert kept
    assert "You stopped this answer" in page.find(".answer .remark").text
    assert page.find("#send").is_displayed()

    page.ask("Can my phone use it?")
    assert page.find(".answer .prose").text == kept, "nothing arrives after Stop"
    assert "cancelled" in [entry["outcome"] for entry in requests_of(edged_daemon)], "the daemon was told"


def test_a_lost_network_is_said_in_words_and_retried_with_a_click(page: Page) -> None:
    set_offline(page.driver, offline=True)
    try:
        page.ask("How do I add a model?")
        assert "The device does not answer" in page.find(".answer .error").text
    finally:
        set_offline(page.driver, offline=False)

    page.find(".answer .error .action").click()
    page.until_answered()
    assert ".gguf" in page.answer
    assert page.driver.find_elements(By.CSS_SELECTOR, ".answer .error") == []


def test_what_a_person_writes_is_shown_as_text(page: Page) -> None:
    written = "<img src=x onerror=alert(1)> **not bold** <b>neither</b>"
    page.ask(written)

    assert page.find(".question").text == written
    assert page.driver.execute_script("return document.querySelector('.question').childElementCount") == 0


def test_the_draft_survives_a_reload_and_leaves_when_sent(page: Page) -> None:
    page.type("half a thought")
    page.open()
    assert page.find("#question").get_attribute("value") == "half a thought"

    page.ask(" and its end")
    page.open()
    assert page.find("#question").get_attribute("value") == ""


def test_enter_that_chooses_a_word_of_an_input_method_does_not_send(page: Page) -> None:
    page.type("ni hao")
    page.driver.execute_script(
        """
        const area = document.getElementById("question");
        area.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", isComposing: true, cancelable: true }));
        area.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", keyCode: 229, cancelable: true }));
        """
    )
    assert page.find("#question").get_attribute("value") == "ni hao"

    page.type(Keys.SHIFT + Keys.ENTER)
    assert page.find("#question").get_attribute("value") == "ni hao\n"


def test_a_chinese_browser_gets_a_chinese_page(page: Page) -> None:
    set_language(page.driver, "zh-CN")
    try:
        page.open()
        assert page.find("h1").text == "问问这台设备。"
        page.ask("怎么添加模型？")
        assert "在这台设备上" in page.find(".answer .badge").text
    finally:
        set_language(page.driver, "en-US")


def test_both_languages_have_the_same_words(page: Page) -> None:
    """A missing translation would show "undefined"."""
    set_language(page.driver, "zh-CN")
    try:
        page.open()
        texts = page.driver.execute_script(
            """
            const shown = [...document.querySelectorAll("[data-say]")].map((found) => found.textContent);
            const labels = [...document.querySelectorAll("[data-say-label]")].map((found) => found.ariaLabel);
            return [...shown, ...labels];
            """
        )
    finally:
        set_language(page.driver, "en-US")
    assert all(text and text != "undefined" for text in texts)


@pytest.fixture
def alarmed(page: Page) -> Page:
    """The page with an alarm: `ran` is what hostile text tries to call, and a violation means a wall was climbed."""
    page.driver.execute_script(
        """
        window.alarms = [];
        window.ran = () => window.alarms.push("ran");
        for (const name of ["alert", "confirm", "prompt", "open"]) window[name] = window.ran;
        document.addEventListener("securitypolicyviolation", (event) => window.alarms.push(event.violatedDirective));
        """
    )
    return page


def elements_of(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.driver.execute_script(
        """
        return [...document.querySelectorAll(".prose *")].map((element) => ({
          name: element.localName,
          attributes: Object.fromEntries([...element.attributes].map(({ name, value }) => [name, value])),
        }));
        """
    )
    return found


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:40]))
def test_hostile_markdown_is_inert(alarmed: Page, text: str) -> None:
    requested_urls(alarmed.driver)
    alarmed.show_markdown(text)
    alarmed.driver.execute_script(
        """
        for (const element of document.querySelectorAll(".prose *")) element.dispatchEvent(new MouseEvent("mouseover"));
        """
    )

    for element in elements_of(alarmed):
        attributes = element["attributes"]
        assert element["name"] in HARMLESS_ELEMENTS
        assert set(attributes) <= HARMLESS_ATTRIBUTES
        if "href" in attributes:
            assert attributes["href"].startswith(("https://", "http://", "mailto:"))
            assert (attributes["rel"], attributes["target"]) == ("noreferrer noopener", "_blank")
    assert alarmed.driver.execute_script("return window.alarms") == []
    assert requested_urls(alarmed.driver) == [], "showing a text asks nobody for anything"


def test_a_link_shows_where_it_really_leads(alarmed: Page) -> None:
    alarmed.show_markdown("Log in at [https://bank.example](https://thief.example/login).")

    assert "(thief.example)" in alarmed.find(".prose").text


def test_markdown_is_shown_as_meant(page: Page) -> None:
    page.show_markdown(
        "# Title\n\nSome **bold**, *leaning* and `code`.\n\n- one\n- [x] two\n\n"
        "| left | right |\n|---|--:|\n| a | 1 |\n\n```python\nprint('<b>')\n```\n"
    )

    def text(selector: str) -> str:
        return page.find(f".prose {selector}").text

    assert [text("h1"), text("strong"), text("em"), text("p code")] == ["Title", "bold", "leaning", "code"]
    assert [item.text for item in page.driver.find_elements(By.CSS_SELECTOR, ".prose li")] == ["one", "☑ two"]
    assert page.find(".prose td:last-child").value_of_css_property("text-align") in ("right", "end")
    assert text(".code-head span") == "python"
    assert text(".code pre") == "print('<b>')"


def test_every_request_goes_to_the_daemon(page: Page) -> None:
    page.ask("Does anything leave this device?")
    page.ask("How do I add a model?")

    urls = requested_urls(page.driver)
    assert any(url.endswith("/v1/chat/completions") for url in urls), "the log sees the page's requests"
    origin = urlsplit(page.url).netloc
    assert {urlsplit(url).netloc for url in urls if not url.startswith("data:")} == {origin}


def test_the_first_load_is_small(page: Page) -> None:
    files = {url for url in requested_urls(page.driver) if "/v1/" not in url and not url.endswith("/readyz")}
    sizes = {url: gzipped_bytes(url) for url in files}

    assert page.url + "app.js" in sizes
    assert sum(sizes.values()) <= FIRST_LOAD_BYTES, sizes


def gzipped_bytes(url: str) -> int:
    with urlopen(url) as response:
        return len(gzip.compress(response.read()))


WIDE = "\n\n".join(
    [
        "|" + "column |" * 12 + "\n|" + "---|" * 12 + "\n|" + "a value |" * 12,
        "```\n" + "a long line of code " * 20 + "\n```",
        "https://example.org/" + "a" * 300,
        "unbreakable" * 40 + " `" + "code" * 60 + "`",
        "> " * 12 + "deep",
    ]
)


def test_nothing_is_wider_than_a_small_phone(page: Page) -> None:
    set_phone(page.driver, 360, 640)
    assert overflow_px(page) == 0, "before the first question"

    page.ask("How do I add a model? " + "w" * 200)
    assert overflow_px(page) == 0, "after an answer"

    page.show_markdown(WIDE)
    assert overflow_px(page) == 0, "with a wide table, code and unbreakable words"


def test_everything_that_can_be_pressed_is_large_enough_for_a_finger(page: Page) -> None:
    set_phone(page.driver, 360, 640)
    page.ask("How do I add a model?")
    page.show_markdown("```\ncode\n```")

    small = page.driver.execute_script(
        """
        return [...document.querySelectorAll("button, select, textarea, summary")]
          .map((element) => [element.outerHTML.slice(0, 80), element.getBoundingClientRect()])
          .filter(([, { width, height }]) => width > 0 && (height < 44 || width < 44)).map(([html]) => html);
        """
    )
    assert small == []


def test_everything_that_can_be_used_has_a_name(page: Page) -> None:
    page.ask("How do I add a model?")

    tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    usable = [node for node in tree if node.get("role", {}).get("value") in ("button", "textbox", "combobox", "link")]
    assert usable
    assert [node for node in usable if not node.get("name", {}).get("value")] == []
