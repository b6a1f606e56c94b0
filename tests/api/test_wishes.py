"""How a request wants to be treated: headers, fields, and what is recognised without either."""

from __future__ import annotations

import json

import pytest

from edged.api import wishes
from edged.api.body import parse
from edged.api.openai import ChatBody
from edged.chat import ChatRequest
from edged.errors import InvalidRequest

# As NextChat asks (app/locales/en.ts and cn.ts).
TITLE = (
    "Please generate a four to five word title summarizing our conversation without any lead-in, punctuation, "
    "quotation marks, periods, symbols, bold text, or additional text. Remove enclosing quotation marks."
)
TITLE_CN = "使用四到五个字直接返回这句话的简要主题，不要解释、不要标点、不要语气词、不要多余文本"
SUMMARY = "Summarize the discussion briefly in 200 words or less to use as a prompt for future context."
TALK = [{"role": "user", "content": "Where is the harbour?"}, {"role": "assistant", "content": "Down the road."}]


def asked(*messages: dict[str, str], **fields: object) -> ChatRequest:
    body = json.dumps({"messages": list(messages), **fields}).encode()
    return parse(body, ChatBody).to_request("id", "10.0.0.7", 1000)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


@pytest.mark.parametrize("title", [TITLE, TITLE_CN])
def test_a_title_is_asked_for_in_the_background(title: str) -> None:
    assert asked(*TALK, user(title)).lane == "background"


def test_a_summary_is_asked_for_in_the_background_streamed_or_not() -> None:
    assert asked(*TALK, system(SUMMARY), stream=True).lane == "background"
    assert asked(system("Be kind."), *TALK, system(SUMMARY)).lane == "background"


@pytest.mark.parametrize(
    "request_",
    [
        asked(user(TITLE)),
        asked(*TALK, user(TITLE), stream=True),
        asked(*TALK, user("What is the title of that book about our conversation?")),
        asked(*TALK, user(TITLE + " " + "And then tell me everything. " * 20)),
        asked(*TALK, {"role": "developer", "content": "Answer in French."}),
        asked(user("Hello"), system(SUMMARY)),
        asked(system("Be kind."), system("Be brief.")),
        asked(*TALK, user("And the station?"), stream=True),
    ],
)
def test_whoever_may_be_a_person_is_one(request_: ChatRequest) -> None:
    assert request_.lane == "interactive"


def test_the_cheaper_tier_is_the_background() -> None:
    assert asked(*TALK, user("x"), service_tier="flex").lane == "background"
    assert asked(*TALK, user("x"), service_tier="default").lane == "interactive"


def test_dropping_is_asked_for_by_field_or_by_header() -> None:
    assert asked(user("x"), truncation="auto").overflow == "drop"
    assert asked(user("x"), truncation="disabled").overflow == asked(user("x")).overflow == "refuse"
    assert wishes.apply({"X-Edged-Overflow": "drop"}, asked(user("x"))).overflow == "drop"


def test_a_header_wins_over_what_the_body_says() -> None:
    headers = {"X-Edged-Lane": "interactive", "X-Edged-Overflow": "refuse", "X-Edged-Deadline-Ms": "1500"}
    wanted = wishes.apply(headers, asked(user("x"), service_tier="flex", truncation="auto"))

    assert (wanted.lane, wanted.overflow, wanted.deadline_s) == ("interactive", "refuse", 1.5)


def test_without_headers_nothing_changes() -> None:
    assert wishes.apply({}, asked(user("x"))) == asked(user("x"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Edged-Lane", "fast"),
        ("X-Edged-Lane", ""),
        ("X-Edged-Lane", "Background"),
        ("X-Edged-Overflow", "truncate"),
        *[
            ("X-Edged-Deadline-Ms", value)
            for value in ("0", "-1", "1.5", "soon", "", "1e3", "3600001", "٣", "9" * 5000)
        ],
    ],
)
def test_a_value_that_is_not_known_is_refused_with_its_header(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=name) as refused:
        wishes.apply({name: value}, asked(user("x")))

    assert refused.value.param == name
    assert len(str(refused.value)) < 250
