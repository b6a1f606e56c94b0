"""Nothing is accepted and ignored: every documented field of a dialect is honoured or refused by name.

What is documented comes from the official clients' own types and from llama-server's README, so that a newer one that
knows another field asks for a decision here. `test_responses.py` walks OpenAI's Responses API the same way.
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
from anthropic.types.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsBase
from ollama import _types as ollama
from openai.types.chat.completion_create_params import CompletionCreateParamsBase as ChatParams
from openai.types.completion_create_params import CompletionCreateParamsBase as CompletionParams
from openai.types.embedding_create_params import EmbeddingCreateParams
from pydantic import BaseModel

from benchmarks import engine
from edged.api import body, chats, measures
from edged.api.anthropic import CountBody, MessagesBody
from edged.api.embeddings import EmbeddingsBody
from edged.api.ollama import ChatBody as OllamaChatBody
from edged.api.ollama import GenerateBody
from edged.api.ollama_embeddings import EmbedBody, OldEmbedBody
from edged.api.ollama_options import OptionsBody
from edged.api.openai import ChatBody, CompletionBody
from edged.errors import RequestError, UnsupportedParameter
from tests.api import test_anthropic

Fields = Mapping[str, Any]
HI = [{"role": "user", "content": "hi"}]
BYE = [{"role": "user", "content": "bye"}]
BEGUN = [*HI, {"role": "assistant", "content": "Well"}]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "integer"}}}
PNG = "iVBORw0KGgo="


@dataclass(frozen=True)
class Asked:
    """One kind of body. Every field that it takes is in one of the first three tables, every other in the last.

    `honoured` has two values each that come to different requests, where need be beside other fields (`beside`).
    `answered` are honoured where the answer is made. `anyway` ask for what happens anyway, with the reason.
    """

    model: type[BaseModel]
    least: Fields
    honoured: Mapping[str, tuple[Any, Any]]
    answered: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    anyway: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    refused: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Fields] = field(default_factory=dict)
    # A field whose fields these are: Ollama's `options`.
    inside: str = ""

    def parse(self, name: str, value: Any) -> Any:
        """The body with this field, beside what it needs."""
        one = {**self.beside.get(name, {}), name: value}
        return body.parse(json.dumps({**self.least, **({self.inside: one} if self.inside else one)}).encode(), self._as)

    def request(self, name: str, value: Any) -> Any:
        """What that comes to."""
        return self.parse(name, value).to_request("id", "", 10_000)

    @property
    def plain(self) -> Any:
        """What it comes to with the least fields."""
        return body.parse(json.dumps(self.least).encode(), self._as).to_request("id", "", 10_000)

    @property
    def _as(self) -> Any:
        return OllamaChatBody if self.inside else self.model

    @property
    def decided(self) -> set[str]:
        """Every field about which something is said here."""
        return {*self.honoured, *self.answered, *self.anyway, *self.refused}


# OpenAI's and llama-server's, for a chat and for a completion.
DRAWN: dict[str, tuple[Any, Any]] = {
    "temperature": (0.1, 0.2),
    "top_p": (0.1, 0.2),
    "frequency_penalty": (0.1, 0.2),
    "presence_penalty": (0.1, 0.2),
    "seed": (1, 2),
    "logit_bias": ({"1": 1}, {"1": 2}),
    "top_k": (1, 2),
    "min_p": (0.1, 0.2),
    "typical_p": (0.1, 0.2),
    "top_n_sigma": (1, 2),
    "dynatemp_range": (0.1, 0.2),
    "dynatemp_exponent": (1, 2),
    "repeat_penalty": (1.1, 1.2),
    "repeat_last_n": (1, 2),
    "dry_multiplier": (0.1, 0.2),
    "dry_base": (1.1, 1.2),
    "dry_allowed_length": (1, 2),
    "dry_penalty_last_n": (1, 2),
    "dry_sequence_breakers": (["a"], ["b"]),
    "xtc_probability": (0.1, 0.2),
    "xtc_threshold": (0.1, 0.2),
    "mirostat": (1, 2),
    "mirostat_tau": (1, 2),
    "mirostat_eta": (0.1, 0.2),
    "ignore_eos": (False, True),
}
SWITCHES: dict[str, Fields] = {
    **{f"dry_{name}": {"dry_multiplier": 1} for name in ("base", "allowed_length", "penalty_last_n")},
    "dry_sequence_breakers": {"dry_multiplier": 1},
    "dynatemp_exponent": {"dynatemp_range": 0.5},
    "xtc_threshold": {"xtc_probability": 0.5},
    "mirostat_tau": {"mirostat": 2},
    "mirostat_eta": {"mirostat": 2},
}
COMMON: dict[str, tuple[Any, Any]] = {
    **DRAWN,
    "model": ("a", "b"),
    "n": (1, 2),
    "stop": ("a", ["a", "b"]),
    "user": ("a", "b"),
    "grammar": ('root ::= "a"', 'root ::= "b"'),
    "json_schema": ({"type": "integer"}, {"type": "null"}),
    "regex": ("a", "b"),
    "return_progress": (True, False),
    "keep_alive": ("5m", 0.0),
}
STREAMED: dict[str, tuple[Any, Any]] = {
    "stream_options": ({"include_usage": True}, {"include_usage": False}),
    "timings_per_token": (True, False),
}
CACHED: dict[str, tuple[Any, str]] = {"cache_prompt": (True, "what is in memory is never read again")}
# llama-server's, about how it runs, what it adds to answers, and other samplers.
LLAMA_REFUSED: dict[str, Any] = {
    "n_predict": 5,
    "n_indent": 1,
    "n_keep": 1,
    "n_cmpl": 2,
    "n_cache_reuse": 1,
    "n_probs": 1,
    "min_keep": 1,
    "t_max_predict_ms": 100,
    "id_slot": 0,
    "return_tokens": True,
    "samplers": ["top_k"],
    "sse_ping_interval": 1,
    "post_sampling_probs": True,
    "response_fields": ["content"],
    "lora": [{"id": 0, "scale": 1.0}],
}
LLAMA_CHAT_REFUSED: dict[str, Any] = {
    "reasoning_format": "none",
    "reasoning_control": True,
    "generation_prompt": "<think>",
    "parse_tool_calls": False,
}
OLLAMA: dict[str, tuple[Any, Any]] = {
    "model": ("a", "b"),
    "options": ({"seed": 1}, {"seed": 2}),
    "format": ("json", {"type": "integer"}),
    "keep_alive": ("5m", 0.0),
    "think": (True, "low"),
    "truncate": (True, False),
    "logprobs": (True, False),
    "top_logprobs": (1, 2),
}
OLLAMA_SHIFT = {"shift": (False, "an answer ends where the context does")}
BODIES: dict[str, Asked] = {
    "chat": Asked(
        ChatBody,
        {"messages": HI},
        {
            **COMMON,
            "messages": (HI, BYE),
            "max_tokens": (5, 6),
            "max_completion_tokens": (5, 6),
            "safety_identifier": ("a", "b"),
            "service_tier": ("flex", "default"),
            "truncation": ("auto", "disabled"),
            "response_format": ({"type": "json_object"}, SCHEMA),
            "logprobs": (True, False),
            "top_logprobs": (1, 2),
            "prediction": ({"type": "content", "content": "a"}, {"type": "content", "content": "b"}),
            "tools": ([WEATHER], []),
            "tool_choice": ("none", "required"),
            "parallel_tool_calls": (True, False),
            "reasoning_effort": ("none", "high"),
            "reasoning": ({"effort": "low"}, {"effort": "high"}),
            "enable_thinking": (True, False),
            "thinking": ({"type": "enabled"}, {"type": "disabled"}),
            "chat_template_kwargs": ({"enable_thinking": True}, {"enable_thinking": False}),
            "reasoning_budget_tokens": (5, 6),
            "thinking_budget_tokens": (5, 6),
            "thinking_budget": (5, 6),
            "metadata": ({"user_id": "a"}, {"user_id": "b"}),
        },
        answered={**STREAMED, "stream": (True, False)},
        anyway={
            **CACHED,
            "store": (False, "nothing is stored"),
            "modalities": (["text"], "answers are text"),
            "prompt_cache_key": ("a", "common beginnings are kept, whatever they are called"),
            "continue_final_message": (True, "an answer that the conversation has begun is gone on with"),
        },
        refused={
            **LLAMA_REFUSED,
            **LLAMA_CHAT_REFUSED,
            "audio": {"voice": "alloy", "format": "wav"},
            "function_call": "none",
            "functions": [],
            "moderation": {"model": "m"},
            "prompt_cache_options": {"mode": "implicit"},
            "prompt_cache_retention": "24h",
            "verbosity": "low",
            "web_search_options": {},
            "prompt": "x",
            "echo": True,
            "best_of": 1,
        },
        beside={
            **SWITCHES,
            "top_logprobs": {"logprobs": True},
            "tool_choice": {"tools": [WEATHER]},
            "continue_final_message": {"messages": BEGUN},
        },
    ),
    "completion": Asked(
        CompletionBody,
        {"prompt": "Once"},
        {
            **COMMON,
            "prompt": ("a", ["a", "b"]),
            "max_tokens": (5, 6),
            "echo": (True, False),
            "suffix": ("x", "y"),
            "logprobs": (1, 2),
        },
        answered={**STREAMED, "stream": (True, False)},
        anyway={**CACHED, "best_of": (1, "of all answers the likeliest, where there are as many as are told")},
        refused={**LLAMA_REFUSED, "messages": HI, "max_completion_tokens": 5, "response_format": SCHEMA},
        beside=SWITCHES,
    ),
    "embeddings": Asked(
        EmbeddingsBody,
        {"input": "a"},
        {"input": ("a", ["a", "b"]), "model": ("a", "b"), "dimensions": (5, 6), "user": ("a", "b")},
        answered={"encoding_format": ("float", "base64"), "keep_alive": ("5m", 0.0)},
        refused={"embd_normalize": 2},
    ),
    "ollama chat": Asked(
        OllamaChatBody,
        {"messages": HI},
        {
            **OLLAMA,
            "messages": (HI, BYE),
            "tools": ([WEATHER], []),
            "tool_choice": ("none", "required"),
            "temperature": (0.1, 0.2),
            "top_p": (0.1, 0.2),
            "max_output_tokens": (5, 6),
        },
        answered={"stream": (True, False)},
        anyway=OLLAMA_SHIFT,
        refused={"prompt": "x", "template": "x"},
        beside={"top_logprobs": {"logprobs": True}, "tool_choice": {"tools": [WEATHER]}},
    ),
    "ollama generate": Asked(
        GenerateBody,
        {"prompt": "Why?"},
        {
            **OLLAMA,
            "prompt": ("a", "b"),
            "system": ("a", "b"),
            "raw": (True, False),
            "images": ([PNG], []),
            "suffix": ("x", "y"),
        },
        answered={"stream": (True, False)},
        anyway={
            **OLLAMA_SHIFT,
            "template": ("", "the model's own is used"),
            "context": ([], "no conversation came before"),
        },
        refused={"width": 64, "height": 64, "steps": 5, "messages": HI},
        beside={"top_logprobs": {"logprobs": True}},
    ),
    "ollama options": Asked(
        OptionsBody,
        {"messages": HI},
        {
            **{name: values for name, values in DRAWN.items() if name in OptionsBody.model_fields},
            "num_predict": (5, 6),
            "stop": ("a", ["a", "b"]),
        },
        anyway={
            "tfs_z": (1.0, "tail-free sampling is off"),
            "num_ctx": (8192, "room is the owner's to give; what does not fit is told with both numbers"),
            "use_mlock": (True, "how the weights stay in memory is the owner's, too; the answer is the same"),
        },
        refused={
            **dict.fromkeys(["numa", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mmap"], True),
            **dict.fromkeys(["embedding_only", "penalize_newline"], True),
            **dict.fromkeys(["num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep"], 1),
        },
        beside=SWITCHES,
        inside="options",
    ),
    "ollama embed": Asked(
        EmbedBody,
        {"input": "a"},
        {"input": ("a", ["a", "b"]), "model": ("a", "b"), "dimensions": (5, 6)},
        answered={"keep_alive": ("5m", 0.0)},
        anyway={
            "truncate": (True, "no text is cut: a longer one is refused with both numbers"),
            "options": ({"num_ctx": 512}, "as for a chat"),
        },
    ),
    "ollama embeddings": Asked(
        OldEmbedBody,
        {"prompt": "a"},
        {"prompt": ("a", "b"), "model": ("a", "b")},
        answered={"keep_alive": ("5m", 0.0)},
        anyway={"options": ({"num_ctx": 512}, "as for a chat")},
        refused={"input": "a"},
    ),
}
# Where a field that is honoured in the answer is read: `asked.<name>`.
HANDLERS = inspect.getsource(chats) + inspect.getsource(measures)


@cache
def llama_servers(heading: str) -> frozenset[str]:
    """The options under one heading of llama-server's README: names in code at the beginning of a line."""
    try:
        readme = engine.source() / "vendor/llama.cpp/tools/server/README.md"
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the engine's source package is not here: {error}")
    section = readme.read_text().split(f"### POST `{heading}`", 1)[1].split("\n### ", 1)[0]
    options = section.split("*Options:*", 1)[1].split("**Response format**", 1)[0].split("*Examples:*", 1)[0]
    return frozenset(re.findall(r"^`(\w+)` ?:", options, re.MULTILINE))


DOCUMENTED: dict[str, Callable[[], set[str]]] = {
    "chat": lambda: {*ChatParams.__annotations__, "stream"} | (llama_servers("/completion") - {"prompt"}),
    "chat of llama-server": lambda: set(llama_servers("/v1/chat/completions")),
    "completion": lambda: {*CompletionParams.__annotations__, "stream", *llama_servers("/completion")},
    "embeddings": lambda: set(EmbeddingCreateParams.__annotations__),
    "ollama chat": lambda: set(ollama.ChatRequest.model_fields),
    "ollama generate": lambda: set(ollama.GenerateRequest.model_fields),
    "ollama options": lambda: set(ollama.Options.model_fields),
    "ollama embed": lambda: set(ollama.EmbedRequest.model_fields),
    "ollama embeddings": lambda: set(ollama.EmbeddingsRequest.model_fields),
}


@pytest.mark.parametrize("source", DOCUMENTED)
def test_every_documented_field_is_decided(source: str) -> None:
    documented = DOCUMENTED[source]()

    assert len(documented) > 3
    assert documented <= BODIES[source.removesuffix(" of llama-server")].decided


@pytest.mark.parametrize("kind", BODIES)
def test_no_field_is_taken_of_which_nothing_is_said(kind: str) -> None:
    asked = BODIES[kind]

    assert set(asked.model.model_fields) == {*asked.honoured, *asked.answered, *asked.anyway}


def each(table: str) -> pytest.MarkDecorator:
    pairs = [(kind, name) for kind, asked in BODIES.items() for name in getattr(asked, table)]
    return pytest.mark.parametrize(("kind", "name"), pairs, ids=[f"{kind}: {name}" for kind, name in pairs])


@each("honoured")
def test_two_values_of_a_field_are_two_requests(kind: str, name: str) -> None:
    asked = BODIES[kind]
    first, second = asked.honoured[name]

    assert asked.request(name, first) != asked.request(name, second)


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("kind", ["chat", "completion", "ollama options"])
def test_a_detail_of_what_is_not_switched_on_is_refused(kind: str, name: str) -> None:
    alone = replace(BODIES[kind], beside={})
    with pytest.raises(RequestError) as refused:
        alone.request(name, DRAWN[name][0])

    assert str(refused.value).endswith(next(iter(SWITCHES[name])) + ".") or kind.startswith("ollama")
    assert name in (refused.value.param or "")


@each("answered")
def test_a_field_that_shapes_the_answer_is_read_where_it_is_made(kind: str, name: str) -> None:
    asked = BODIES[kind]
    first, second = asked.answered[name]

    assert getattr(asked.parse(name, first), name) != getattr(asked.parse(name, second), name)
    assert f"asked.{name}" in HANDLERS


@each("anyway")
def test_what_happens_anyway_may_be_asked_for(kind: str, name: str) -> None:
    asked = BODIES[kind]
    value, reason = asked.anyway[name]

    assert reason
    without = replace(asked, least={**asked.least, **asked.beside.get(name, {})}).plain
    assert asked.request(name, value) == without


OTHERWISE: dict[tuple[str, str], Any] = {
    ("chat", "cache_prompt"): False,
    ("chat", "store"): True,
    ("chat", "modalities"): ["audio"],
    ("chat", "service_tier"): "priority",
    ("chat", "metadata"): {"job": "a"},
    ("chat", "stream_options"): {"include_obfuscation": True},
    ("completion", "cache_prompt"): False,
    ("completion", "best_of"): 2,
    ("ollama chat", "shift"): True,
    ("ollama generate", "template"): "x",
    ("ollama generate", "context"): [1],
    ("ollama options", "tfs_z"): 0.5,
}


@pytest.mark.parametrize(("kind", "name"), OTHERWISE)
def test_and_nothing_else(kind: str, name: str) -> None:
    with pytest.raises(RequestError) as refused:
        BODIES[kind].request(name, OTHERWISE[kind, name])
    assert name in (refused.value.param or "")


@each("refused")
def test_a_field_that_is_not_honoured_is_refused_by_name(kind: str, name: str) -> None:
    asked = BODIES[kind]
    with pytest.raises(UnsupportedParameter) as refused:
        asked.request(name, asked.refused[name])

    path = f"{asked.inside}.{name}" if asked.inside else name
    assert refused.value.param == path
    assert path in str(refused.value)


@pytest.mark.parametrize(
    ("model", "params"), [(MessagesBody, MessageCreateParamsBase), (CountBody, MessageCountTokensParams)]
)
def test_anthropics_documented_fields_are_decided_in_the_tests_of_that_dialect(model: Any, params: Any) -> None:
    taken = {*test_anthropic.HONOURED, *test_anthropic.TRUE_ANYWAY}

    assert set(params.__annotations__) <= taken | set(test_anthropic.UNSUPPORTED)
    assert set(model.model_fields) <= taken
