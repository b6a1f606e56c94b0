"""A prompt as token ids reaches the model as it is, and no id of another model does."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.chat import ChatRequest, RawPrompt
from edged.completion import Delta
from edged.config import Engine, Limits
from edged.errors import InvalidRequest
from edged.local.backend import Local
from edged.local.pool import Pool
from edged.sampling import Sampling
from edged.store import Store
from edged.worker.model import Model


async def answer(local: Local, prompt: RawPrompt) -> tuple[int, str]:
    wanted = ChatRequest("1", "nano", raw_prompt=prompt, max_tokens=8, sampling=Sampling(temperature=0.0))
    async with await local.complete(wanted) as completion:
        text = "".join([event.text async for event in completion if isinstance(event, Delta)])
    return completion.admission.prompt_tokens, text


async def test_ids_are_answered_as_the_text_that_they_are(tmp_path: Path, nano_file: Path) -> None:
    (tmp_path / "nano.gguf").hardlink_to(nano_file)
    vocabulary = Model(str(nano_file), vocab_only=True)
    begin = [] if vocabulary.bos is None else [vocabulary.bos]
    ids = [*begin, *vocabulary.tokenize("Once upon a time", parse_special=False)]
    store, limits = Store(tmp_path), Limits()

    async with Pool(store, Engine(context_tokens=256, sequences=2, threads=1), limits, lambda *_, **__: None) as pool:
        local = Local(pool, store, limits)
        assert await answer(local, tuple(ids)) == await answer(local, "Once upon a time")
        assert (await answer(local, tuple(ids[-3:])))[0] == 3
        with pytest.raises(InvalidRequest, match="The prompt holds the token id 99999, and the model nano") as refused:
            await answer(local, (1, 99_999))
        assert refused.value.param == "prompt"
