"""What the page says when it gets no answer, or one to half of the conversation: in words, with what can be done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from benchmarks import synthetic
from tests.daemon_process import DaemonProcess, running
from tests.end_to_end.browser import Page, chromium, set_language, set_phone

REFUSALS: dict[str, tuple[int, dict[str, Any], str, str]] = {
    "queue_full": (503, {"retry_after_s": 12}, "There will be room in about 12 s.", "大约 12 秒后会有空位"),
    "predicted_timeout": (503, {"retry_after_s": 30}, "Ask again in about 30 s.", "请大约 30 秒后再问"),
    "rate_limited": (429, {"retry_after_s": 240}, "Ask again in about 4 minutes.", "请大约 4 分钟后再问"),
    "model_loading": (503, {"retry_after_s": 9}, "It should be there in about 9 s.", "大约 9 秒后应该就好"),
    "context_length_exceeded": (
        400,
        {"n_prompt_tokens": 9000, "n_ctx": 8192},
        "(9000 tokens, and there is room for 8192)",
        "共 9000 个词元，只放得下 8192 个",
    ),
    "grammar_invalid": (400, {}, "in a form that cannot be kept to", "格式无法做到"),
    "template_limit": (422, {}, "chat template took too long", "对话模板耗时太久"),
    "model_invalid": (422, {}, "The file of this model cannot be used.", "这个模型的文件无法使用"),
    "worker_oom": (503, {"retry_after_s": 1}, "The memory of the device was not enough", "设备内存不够"),
    "a_code_of_tomorrow": (500, {}, "That did not work.", "没有成功"),
}
RETRYABLE = {"queue_full", "predicted_timeout", "rate_limited", "model_loading", "worker_oom", "a_code_of_tomorrow"}
# The page's own words say all that a person needs; for the others the daemon's sentence stands below.
EXPLAINED = {"queue_full", "predicted_timeout", "rate_limited", "model_loading", "context_length_exceeded"}


@pytest.fixture(scope="module")
def daemon(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A small context that is soon full, a model that never ends by itself, and one that does not talk."""
    bert = synthetic.build("tiny-bert", "Q8_0", tmp_path_factory.mktemp("models"))
    environment = {"EDGED_ENGINE__CONTEXT_TOKENS": "1024", "EDGED_LIMITS__ANSWER_TOKENS": "24"}
    with running({"tiny": tiny, "bert": bert}, '[models]\ndefault = "tiny"\n', environment) as found:
        yield found


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(driver: Chrome, daemon: DaemonProcess) -> Iterator[Page]:
    page = Page(driver, daemon.url.rstrip("/") + "/")
    driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": page.url, "storageTypes": "local_storage"})
    page.open()
    yield page
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    set_language(driver, "en-US")


def refuse_once(page: Page, code: str, *, message: str = "The daemon's own sentence.") -> None:
    """The next question gets this refusal, as the daemon words it; what is asked is kept in `window.asked`."""
    status, facts, _, _ = REFUSALS[code]
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": None, "code": code, "src": "edged", **facts}
    page.driver.execute_script(
        """
        const [status, body] = arguments;
        const original = window.fetch;
        window.asked = [];
        let isFirst = true;
        window.fetch = (path, options) => {
          if (!options?.body) return original(path, options);
          window.asked.push(options.headers);
          if (!isFirst) return original(path, options);
          isFirst = false;
          const headers = { "Content-Type": "application/json", "Retry-After": "1" };
          return Promise.resolve(new Response(body, { status, headers }));
        };
        """,
        status,
        json.dumps({"error": error}),
    )


def shown(page: Page, selector: str) -> list[str]:
    return [found.text for found in page.driver.find_elements(By.CSS_SELECTOR, selector) if found.is_displayed()]


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_is_told_in_words_with_what_can_be_done(page: Page, code: str) -> None:
    refuse_once(page, code)
    page.ask("How do I add a model?")

    notice = page.find(".answer .error").text
    assert REFUSALS[code][2] in notice
    assert ("The daemon's own sentence." in notice) == (code not in EXPLAINED)
    assert ("Try again" in notice) == (code in RETRYABLE)
    assert ("Wait for it" in notice) == (code == "predicted_timeout")
    assert ("New chat" in notice) == (code == "context_length_exceeded")


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_in_chinese(page: Page, code: str) -> None:
    set_language(page.driver, "zh-CN")
    page.open()
    refuse_once(page, code)
    page.ask("怎么添加模型？")

    notice = page.find(".answer .error").text
    assert REFUSALS[code][3] in notice
    assert "undefined" not in notice
    assert "NaN" not in notice


def test_who_would_rather_wait_says_so_with_a_click(page: Page) -> None:
    refuse_once(page, "predicted_timeout")
    page.ask("How do I add a model?")
    page.find(".error .action:last-child").click()
    page.until("document.querySelector('.prose').textContent")
    page.until_answered()

    first, second = page.driver.execute_script("return window.asked")
    assert "X-Edged-Deadline-Ms" not in first
    assert second["X-Edged-Deadline-Ms"] == "3600000"
    assert shown(page, ".error") == []


def test_a_refusal_in_the_stream_says_when_to_come_back_too(page: Page) -> None:
    error = {"message": "Busy.", "type": "server_error", "param": None, "code": "queue_full", "src": "edged"}
    page.driver.execute_script(
        """
        const [body] = arguments;
        const original = window.fetch;
        window.fetch = (path, options) => {
          if (!options?.body) return original(path, options);
          const headers = { "Content-Type": "text/event-stream", "X-Edged-Served-By": "pending" };
          return Promise.resolve(new Response(`data: ${body}\\n\\n`, { headers }));
        };
        """,
        json.dumps({"error": {**error, "retry_after_s": 40}}),
    )
    page.ask("How do I add a model?")

    notice = page.find(".answer .error").text
    assert "in about 40 s" in notice
    assert "Try again in 40 s" in notice or "Try again in 39 s" in notice


LONG = "Please tell me which ferry leaves from which quay, and when exactly. " * 8


def test_a_conversation_that_outgrew_the_model_goes_on_and_shows_where_it_was_cut(page: Page) -> None:
    questions = 0
    while not shown(page, ".border") and questions < 20:
        page.ask(LONG)
        questions += 1
        assert shown(page, ".error") == []

    assert shown(page, ".border") == ["The model no longer sees what is above"]
    assert "without the oldest" in shown(page, ".answer:last-child .badge")[0]
    assert "outgrown" in shown(page, ".answer:last-child .dropped")[0]
    before_border = page.driver.execute_script(
        """
        const border = document.querySelector(".border");
        const all = [...document.querySelectorAll(".question, .answer")];
        return all.filter((found) => found.compareDocumentPosition(border) & Node.DOCUMENT_POSITION_FOLLOWING).length;
        """
    )
    assert f"oldest {before_border} messages" in shown(page, ".answer:last-child .badge")[0]

    page.find("#new-chat").click()
    assert shown(page, ".border") == []
    page.ask("Short.")
    assert "without the oldest" not in shown(page, ".answer .badge")[0]


def test_a_question_that_is_too_long_by_itself_is_refused_with_the_numbers(page: Page) -> None:
    page.driver.execute_script("document.getElementById('question').value = arguments[0]", LONG * 20)
    page.ask(" And?")

    assert "there is room for 1024" in page.find(".error").text


def test_the_picker_offers_only_models_that_talk(page: Page) -> None:
    offered = [option.text for option in page.driver.find_elements(By.CSS_SELECTOR, "#model option")]

    assert offered == ["Automatic", "tiny", "guide"]


@pytest.mark.parametrize("code", ["predicted_timeout", "context_length_exceeded"])
def test_a_notice_fits_a_small_phone_and_a_finger(page: Page, code: str) -> None:
    set_phone(page.driver, 360, 640)
    refuse_once(page, code, message="unbreakable" * 40)
    page.ask("How do I add a model?")

    width = page.driver.execute_script(
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    heights = page.driver.execute_script(
        "return [...document.querySelectorAll('.error .action')].map((found) => found.getBoundingClientRect().height)"
    )
    assert width == 0
    assert heights
    assert min(heights) >= 44
