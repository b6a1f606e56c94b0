"""What programs that people use send, as they send it, and that each is answered; what it means is tested by dialect.

NextChat: app/client/platforms/{openai,anthropic}.ts. Open WebUI: backend/open_webui/routers/tasks.py. Home Assistant:
homeassistant/components/ollama/entity.py and components/openai_conversation/entity.py. Continue:
core/llm/openaiTypeConverters.ts and core/llm/llms/Ollama.ts. Claude Code: what `api/anthropic.py` says of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edged.chat import ChatRequest
from tests.api.test_server import serving

ASKED = [{"role": "system", "content": "You help."}, {"role": "user", "content": "Switch the light on."}]
PARAMETERS = {"type": "object", "properties": {"name": {"type": "string"}, "area": {"type": "string"}}}
FUNCTION = {"name": "HassTurnOn", "description": "Turns a device on", "parameters": PARAMETERS}
TOOL = {"type": "function", "function": FUNCTION}
CALL = {"id": "call_1", "type": "function", "function": {"name": "HassTurnOn", "arguments": '{"name":"light"}'}}
CACHED = {"cache_control": {"type": "ephemeral"}}

PROGRAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "NextChat": (
        "/v1/chat/completions",
        {"messages": ASKED, "stream": True, "model": "gpt-4o-mini", "temperature": 0.5, "presence_penalty": 0}
        | {"frequency_penalty": 0, "top_p": 1},
    ),
    "NextChat, Anthropic": (
        "/v1/messages",
        {
            "messages": [
                {"role": "user", "content": "You help."},
                {"role": "assistant", "content": ";"},
                {"role": "user", "content": "Switch the light on."},
            ]
        }
        | {"stream": True, "model": "claude-3-5-sonnet", "max_tokens": 4000, "temperature": 0.5, "top_p": 1}
        | {"top_k": 5},
    ),
    "Open WebUI, a title": (
        "/v1/chat/completions",
        {"model": "guide", "messages": ASKED[1:], "stream": False, "max_completion_tokens": 1000},
    ),
    "Home Assistant, Ollama": (
        "/api/chat",
        {"model": "guide", "messages": ASKED, "tools": [TOOL], "stream": True, "keep_alive": -1, "think": False}
        | {"options": {"num_ctx": 8192.0}},
    ),
    "Home Assistant, Ollama, what a call came to": (
        "/api/chat",
        {
            "model": "guide:latest",
            "messages": [
                *ASKED,
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"function": {"name": "HassTurnOn", "arguments": {"name": "light"}}}],
                },
                {"role": "tool", "content": '{"data":{"success":true},"error":null}'},
            ],
            "tools": [TOOL],
            "stream": True,
            "keep_alive": "300s",
            "options": {"num_ctx": 8192},
        },
    ),
    "Home Assistant, Ollama, data": (
        "/api/chat",
        {"model": "guide", "messages": ASKED, "stream": True, "keep_alive": "0s", "format": PARAMETERS, "options": {}},
    ),
    "Home Assistant, OpenAI": (
        "/v1/responses",
        {
            "model": "guide",
            "input": [
                {"type": "message", "role": "developer", "content": "You help."},
                {"type": "message", "role": "user", "content": "Switch the light on."},
                {"type": "function_call", "name": "HassTurnOn", "arguments": "{}", "call_id": "call_1"},
                {"type": "function_call_output", "call_id": "call_1", "output": '{"success":true}'},
            ],
            "max_output_tokens": 3000,
            "top_p": 1.0,
            "temperature": 1.0,
            "user": "01HZ",
            "store": False,
            "stream": True,
            "tools": [{"type": "function", "strict": False} | FUNCTION],
        },
    ),
    "Home Assistant, OpenAI, data": (
        "/v1/responses",
        {
            "model": "guide",
            "input": [{"type": "message", "role": "user", "content": "A name."}],
            "store": False,
            "stream": True,
            "text": {
                "format": {
                    "type": "json_schema",
                    "name": "data",
                    "schema": PARAMETERS | {"strict": True, "additionalProperties": False, "required": ["name"]},
                }
            },
        },
    ),
    "Continue": (
        "/v1/chat/completions",
        {
            "messages": [
                *ASKED,
                {"role": "assistant", "content": " ", "tool_calls": [CALL]},
                {"role": "tool", "content": "Done.", "tool_call_id": "call_1"},
            ],
            "model": "guide",
            "max_tokens": 1024,
            "temperature": 0.1,
            "stream": True,
            "stop": ["\n\n\n"],
            "prediction": {"type": "content", "content": "Done."},
            "tools": [TOOL],
        },
    ),
    "Continue, Ollama": (
        "/api/chat",
        {"model": "guide", "messages": ASKED, "keep_alive": 1800, "stream": False, "tools": [TOOL]}
        | {"options": {"temperature": 0.1, "num_predict": 1024, "stop": ["x"], "num_ctx": 8192}},
    ),
    "Claude Code": (
        "/v1/messages?beta=true",
        {
            "model": "claude-sonnet-4-5",
            "max_tokens": 32000,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"} | CACHED]}],
            "system": [{"type": "text", "text": "You are an agent."} | CACHED],
            "tools": [
                {"name": "Bash", "description": "Runs it", "eager_input_streaming": True}
                | {"input_schema": {"$schema": "https://json-schema.org/draft/2020-12/schema"} | PARAMETERS}
            ],
            "metadata": {"user_id": json.dumps({"device_id": "0" * 64, "session_id": "1"})},
            "thinking": {"type": "adaptive"},
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "output_config": {"effort": "medium"},
            "stream": True,
        },
    ),
}


@pytest.mark.parametrize("program", PROGRAMS)
async def test_a_program_is_answered_in_its_dialect(tmp_path: Path, program: str) -> None:
    path, asked = PROGRAMS[program]
    async with serving(tmp_path) as box, box.client.post(path, json=asked) as response:
        told = await response.text()

        assert response.status == 200, told
        assert "Hello" in told
        assert "error" not in told.lower().replace('"error":null', "")
        (wanted,) = box.backend.requests
        assert isinstance(wanted, ChatRequest)
        assert wanted.lane == "interactive"
        assert len(wanted.tools) == ("tools" in asked)
