"""The owner's system prompts are in memory before anybody asks, and everybody's answer is quicker for it."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edged.chat import Caller, ChatRequest, TextPart
from edged.errors import EdgedError
from edged.local.process import WorkerProcess
from edged.local.renderer import Renderer
from edged.local.resident import share_prompts
from edged.sampling import Sampling
from edged.template_wire import Template, Turn
from edged.wire import Load
from tests.fakes import until

SYSTEM = "You answer those who work in the harbour, in few words and without jokes."
PLAIN = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}<|assistant|>"
PICKY = "{% if 'harbour' in messages[0].content %}{{ raise_exception('no harbour here') }}{% endif %}" + PLAIN


@asynccontextmanager
async def resident(file: Path, template: str) -> AsyncIterator[tuple[WorkerProcess, Renderer]]:
    def gone(error: EdgedError) -> None:
        pass

    process = WorkerProcess("nano", gone)
    descriptor = os.open(file, os.O_RDONLY)
    try:
        card = await process.load(Load("nano", 256, 2, 1, 0), [descriptor])
        renderer = Renderer("nano", Template(template, card.bos, card.eos, card.controls))
        yield process, renderer
        await renderer.stop()
    finally:
        os.close(descriptor)
        await process.stop()


async def test_a_shared_prompt_is_read_once_for_every_account(nano_file: Path) -> None:
    async with resident(nano_file, PLAIN) as (process, renderer):
        await share_prompts([SYSTEM], renderer, process)
        await until(lambda: process.work.prompt_tokens > 10)
        shared_tokens = process.work.prompt_tokens

        for account in ("ann", "ben"):
            turns = (Turn("system", (TextPart(SYSTEM),)), Turn("user", (TextPart(f"Hello from {account}"),)))
            asked = ChatRequest("id", sampling=Sampling(temperature=0.0), caller=Caller(account=account))
            with process.answering(asked, await renderer.render(turns), 3) as answers:
                assert (await answers.admitted()).cached_tokens == shared_tokens
                assert [event async for event in answers.events()]


async def test_a_template_that_refuses_a_shared_prompt_costs_only_the_sharing(
    nano_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with resident(nano_file, PICKY) as (process, renderer):
        with caplog.at_level(logging.WARNING):
            await share_prompts([SYSTEM], renderer, process)

        assert "is not kept ready for nano" in caplog.text
        assert "no harbour here" in caplog.text
        assert await renderer.render((Turn("user", (TextPart("hi"),)),))
