"""What programs that people use send, as they send it, and that each is answered; what it means is tested by dialect.

A row is a shape that no other row has. Where a program's source was read:

AI SDK (of which opencode and many others are made): src of @ai-sdk/openai-compatible 2.0.92, @ai-sdk/openai 3.0.141 and
@ai-sdk/anthropic 3.0.140; its provider for Ollama: dist of ollama-ai-provider-v2 3.6.0.
AnythingLLM: server/utils/AiProviders/{ollama,genericOpenAi}/index.js.
AutoGen: autogen_ext/models/openai/_message_transform.py (0.7.5). Semantic Kernel sends names, too:
contents/chat_message_content.py (1.45).
Cherry Studio: src/renderer/src/aiCore/utils/reasoning.ts.
Claude Code: what `api/anthropic.py` says of it, and 2.1.100 itself.
Cline, Roo Code: src/core/api/providers/{openai,ollama,anthropic}.ts, src/api/providers/openai.ts.
Codex: codex-rs/{codex-api/src/common.rs,core/src/client.rs,tools/src/tool_spec.rs}, and what 0.169 sent to a daemon.
Continue: core/llm/openaiTypeConverters.ts, core/llm/llms/Ollama.ts, @continuedev/openai-adapters 1.37.
Home Assistant: homeassistant/components/ollama/entity.py and components/openai_conversation/entity.py.
LangChain: dist of @langchain/{openai,ollama,anthropic}, on which LibreChat (@librechat/agents), Flowise and n8n
(@n8n/n8n-nodes-langchain 2.41) stand; for Python langchain_openai 1.7, langchain_ollama 1.1.
LiteLLM (in Aider, aider/models.py, and OpenHands): litellm/llms/{ollama,openai}/chat/ (1.109).
llama.vscode: src/llama-server.ts.
NextChat: app/client/platforms/{openai,anthropic}.ts. Open WebUI 0.12: open_webui/routers/{openai,ollama,tasks}.py and
utils/{payload,misc}.py.
pi: providers/openai-completions of @earendil-works/pi-ai 0.74. Qwen Code: cli.js of @qwen-code/qwen-code 0.15.
SillyTavern: src/endpoints/backends/{chat,text}-completions.js, public/scripts/textgen-settings.js.
VS Code: src/extension/byok/vscode-node/ollamaProvider.ts of microsoft/vscode-copilot-chat.
Zed: crates/open_ai/src/open_ai.rs, crates/ollama/src/ollama.rs.

With the shapes of others: big-AGI (adapters/openai.chatCompletions.ts in src/modules/aix/server/dispatch/chatGenerate),
Goose (crates/goose/src/providers/formats/openai.rs), LlamaIndex (llama_index/llms/{ollama,openai}).
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
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
# A call as it comes back, and what it came to, in OpenAI's shape.
CALLED: list[dict[str, Any]] = [
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "Done."},
]

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
    "Open WebUI, Ollama": (
        "/api/chat",
        {
            "model": "guide:latest",
            "messages": [
                *ASKED,
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"index": 0, "id": "call_1", "function": {"name": "HassTurnOn", "arguments": {"name": "light"}}}
                    ],
                    "content": "",
                },
                {"role": "tool", "content": "Done.", "tool_call_id": "call_1"},
            ],
            "options": {"temperature": 0.8, "num_predict": 1000},
            "stream": True,
            "tools": [TOOL],
        },
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
        {
            "model": "guide",
            "messages": [
                *ASKED,
                {"role": "thinking", "content": "Which light?"},
                {
                    "role": "assistant",
                    "content": " ",
                    "tool_calls": [{"function": {"name": "HassTurnOn", "arguments": {}}}],
                },
                {"role": "tool", "content": "Done."},
            ],
            "keep_alive": 1800,
            "stream": True,
            "tools": [TOOL],
            "options": {"temperature": 0.1, "num_predict": 1024, "stop": ["x"], "num_ctx": 8192},
        },
    ),
    "Continue, Ollama, a line of code": (
        "/api/generate",
        {"model": "guide", "prompt": "def hello", "raw": True, "keep_alive": 1800, "stream": True}
        | {"options": {"temperature": 0.01, "num_predict": 256, "stop": ["\n\n"], "num_ctx": 8192}},
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
    "AI SDK, OpenAI-compatible": (
        "/v1/chat/completions",
        {"model": "guide", "max_tokens": 1000, "temperature": 0, "tools": [TOOL], "tool_choice": "auto"}
        | {"messages": [*ASKED, CALLED[0] | {"reasoning_content": "Which light?"}, CALLED[1]]}
        | USAGE,
    ),
    "AI SDK, OpenAI": (
        "/v1/responses",
        {
            "model": "guide",
            "input": [
                {"role": "system", "content": "You help."},
                {"role": "user", "content": [{"type": "input_text", "text": "Switch the light on."}]},
                {"role": "assistant", "content": [{"type": "output_text", "text": "I will."}], "id": "msg_1"},
                {"type": "function_call", "call_id": "call_1", "name": "HassTurnOn", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "call_1", "output": "Done."},
            ],
            "store": False,
            "tools": [{"type": "function"} | FUNCTION],
            "tool_choice": "auto",
            "stream": True,
        },
    ),
    "AI SDK, Anthropic": (
        "/v1/messages",
        {
            "model": "guide",
            "max_tokens": 4096,
            "temperature": 0,
            "system": [{"type": "text", "text": "You help."} | CACHED],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Switch the light on."}]},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "call_1", "name": "HassTurnOn", "input": {}}],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "Done."}]},
            ],
            "tools": [{"name": "HassTurnOn", "description": "Turns", "input_schema": PARAMETERS}],
            "tool_choice": {"type": "auto"},
            "stream": True,
        },
    ),
    "AI SDK, Ollama": (
        "/api/chat",
        {
            "model": "guide",
            "messages": [
                *ASKED,
                {
                    "role": "assistant",
                    "content": "",
                    "thinking": "Which light?",
                    "tool_calls": [
                        {"id": "call_1", "type": "function", "function": {"name": "HassTurnOn", "arguments": {}}}
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "Done."},
            ],
            "temperature": 0,
            "max_output_tokens": 1000,
            "think": False,
            "tools": [TOOL],
            "tool_choice": "auto",
            "stream": True,
        },
    ),
    "AnythingLLM, Ollama": (
        "/api/chat",
        {"model": "guide:latest", "stream": True, "messages": ASKED, "keep_alive": 300}
        | {"options": {"temperature": 0.7, "use_mlock": True, "num_ctx": 4096}},
    ),
    "AutoGen": (
        "/v1/chat/completions",
        {
            "model": "guide",
            "messages": [
                {"role": "system", "content": "You help."},
                {"role": "user", "name": "user", "content": "Write a poem."},
                {"role": "user", "name": "writer", "content": "Roses."},
                {"role": "assistant", "name": "critic", "content": "Short."},
                {"role": "user", "name": "writer", "content": [{"type": "text", "text": "Roses are red."}]},
            ],
            "stream": False,
        },
    ),
    "Cherry Studio, not to think": (
        "/v1/chat/completions",
        {"model": "qwen3-1.7b", "messages": ASKED, "temperature": 1, "enable_thinking": False} | USAGE,
    ),
    "Cherry Studio, to think": (
        "/v1/chat/completions",
        {"model": "glm-4.6", "messages": ASKED, "thinking": {"type": "enabled"}} | USAGE,
    ),
    "Cline, Anthropic": (
        "/v1/messages",
        {
            "model": "claude-sonnet-4-5-20250929",
            "max_tokens": 8192,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "system": [{"text": "You help.", "type": "text"} | CACHED],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hi."} | CACHED]},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "Hm.", "signature": ""},
                        {"type": "text", "text": "Yes?"},
                    ],
                },
                {"role": "user", "content": [{"type": "text", "text": "Go on."} | CACHED]},
            ],
            "stream": True,
        },
    ),
    "Codex": (
        "/v1/responses",
        {
            "model": "guide",
            "instructions": "You are Codex, a coding agent.",
            "input": [
                {
                    "type": "message",
                    "id": "msg_1",
                    "role": "developer",
                    "content": [{"type": "input_text", "text": "Code."}],
                },
                {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "Switch the light on."}],
                },
                {"type": "reasoning", "summary": [], "content": None, "encrypted_content": None},
                {"type": "function_call", "name": "HassTurnOn", "arguments": "{}", "call_id": "call_1"},
                {"type": "function_call_output", "call_id": "call_1", "output": "Done."},
            ],
            "tools": [
                {"type": "function", "strict": False} | FUNCTION,
                {
                    "type": "namespace",
                    "name": "multi_agent_v1",
                    "description": "Tools for sub-agents.",
                    "tools": [{"type": "function", "strict": False} | FUNCTION],
                },
                {"type": "web_search", "external_web_access": False},
            ],
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            "reasoning": {"summary": "auto"},
            "store": False,
            "stream": True,
            "include": ["reasoning.encrypted_content"],
            "prompt_cache_key": "0199",
            "client_metadata": {"x-codex-installation-id": "1111", "x-codex-turn-metadata": '{"turn_id":"1"}'},
        },
    ),
    "LangChain for JavaScript, OpenAI's Responses, as in n8n": (
        "/v1/responses",
        {
            "model": "guide",
            "input": [
                {"type": "message", "role": "system", "content": "You help."},
                {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "Switch the light on."}],
                },
                {
                    "type": "message",
                    "role": "assistant",
                    "id": "msg_1",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": "I will.", "annotations": [], "logprobs": []}],
                },
                {"type": "function_call", "name": "HassTurnOn", "arguments": "{}", "call_id": "call_1", "id": "fc_1"},
                {"type": "function_call_output", "call_id": "call_1", "output": "Done."},
            ],
            "tools": [{"type": "function", "strict": False} | FUNCTION],
            "text": {},
            "stream": True,
        },
    ),
    "LangChain for Python, agents with names": (
        "/v1/chat/completions",
        {
            "model": "guide",
            "messages": [
                {"role": "user", "content": "Switch the light on."},
                {"role": "assistant", "name": "supervisor", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_1", "name": "HassTurnOn", "content": "Done."},
                {"role": "assistant", "name": "worker", "content": "It is on."},
                {"role": "user", "content": [{"type": "text", "text": "Thanks."}]},
            ],
            "max_completion_tokens": 100,
            "stream": False,
        },
    ),
    "LangChain for Python, Ollama": (
        "/api/chat",
        {
            "model": "guide",
            "messages": [
                {"role": "user", "content": "Switch the light on.", "images": []},
                {
                    "role": "assistant",
                    "content": "",
                    "images": [],
                    "tool_calls": [
                        {"type": "function", "id": "call_1", "function": {"name": "HassTurnOn", "arguments": {}}}
                    ],
                },
                {"role": "tool", "content": "Done.", "images": [], "tool_call_id": "call_1"},
            ],
            "tools": [TOOL],
            "stream": True,
            "format": None,
            "think": None,
            "options": {"temperature": 0.0},
            "keep_alive": None,
        },
    ),
    "LiteLLM, Ollama": (
        "/api/chat",
        {
            "model": "guide",
            "messages": [
                *ASKED,
                {
                    "role": "assistant",
                    "content": "",
                    "thinking": "Which light?",
                    "tool_calls": [{"id": "call_1", "function": {"name": "HassTurnOn", "arguments": {}}}],
                },
                {"role": "tool", "content": "Done.", "tool_call_id": "call_1"},
            ],
            "options": {"temperature": 0, "num_ctx": 9000, "stop": ["x"]},
            "stream": True,
            "tools": [TOOL],
        },
    ),
    "llama.vscode": (
        "/v1/chat/completions",
        {"messages": ASKED, "stream": False, "cache_prompt": True, "temperature": 0.8, "top_p": 0.95},
    ),
    "llama.vscode, a line of code": (
        "/v1/completions",
        {"model": "", "prompt": "def hello", "max_tokens": 128, "temperature": 0.1, "top_p": 0.99, "stream": False},
    ),
    "pi": (
        "/v1/chat/completions",
        {
            "model": "guide",
            "messages": [
                {"role": "developer", "content": "You help."},
                {"role": "user", "content": [{"type": "text", "text": "Switch the light on."}]},
                CALLED[0] | {"content": "", "reasoning_content": "Which light?"},
                CALLED[1],
            ],
            "store": False,
            "max_completion_tokens": 32000,
            "tools": [{"type": "function", "function": FUNCTION | {"strict": False}}],
            "reasoning_effort": "medium",
        }
        | USAGE,
    ),
    "pi, a template's switch": (
        "/v1/chat/completions",
        {"model": "guide", "messages": ASKED, "chat_template_kwargs": {"enable_thinking": True}} | USAGE,
    ),
    "Qwen Code": (
        "/v1/chat/completions",
        {"model": "guide", "messages": ASKED, "tools": [TOOL], "reasoning": {"effort": "medium"}} | USAGE,
    ),
    "Roo Code": (
        "/v1/chat/completions",
        {
            "model": "guide",
            "temperature": 0,
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "You help."} | CACHED]},
                {"role": "user", "content": [{"type": "text", "text": "Switch the light on."} | CACHED]},
            ],
            "tools": [TOOL],
            "tool_choice": "auto",
            "parallel_tool_calls": False,
            "max_completion_tokens": 8192,
        }
        | USAGE,
    ),
    "SillyTavern": (
        "/v1/chat/completions",
        {
            "messages": [
                {"role": "system", "content": "You are Seraphina."},
                {"role": "system", "name": "example_user", "content": "Who are you?"},
                {"role": "system", "name": "example_assistant", "content": "Seraphina."},
                {"role": "user", "content": "Hello."},
            ],
            "model": "guide",
            "temperature": 1,
            "max_tokens": 300,
            "stream": True,
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "top_p": 1,
            "stop": [],
            "logit_bias": {},
        },
    ),
    "SillyTavern, Ollama": (
        "/api/generate",
        {
            "model": "guide:latest",
            "prompt": "You are Seraphina.",
            "stream": True,
            "keep_alive": -1,
            "raw": True,
            "options": {
                **{"temperature": 0.7, "top_p": 0.5, "top_k": 40, "typical_p": 1, "min_p": 0, "tfs_z": 1, "seed": -1},
                **{"repeat_penalty": 1.2, "repeat_last_n": 0, "frequency_penalty": 0, "presence_penalty": 0},
                **{"mirostat": 0, "mirostat_tau": 5, "mirostat_eta": 0.1},
                **{"num_predict": 300, "num_ctx": 8192, "stop": ["\nYou:"]},
            },
        },
    ),
    "Zed": (
        "/v1/chat/completions",
        {"model": "guide", "messages": [*ASKED, *CALLED], "max_completion_tokens": 4096, "temperature": 1.0}
        | {"tools": [TOOL], "tool_choice": "auto", "prompt_cache_key": "thread-1"}
        | USAGE,
    ),
    "Zed, Ollama": (
        "/api/chat",
        {
            "model": "guide:latest",
            "messages": [
                {"role": "system", "content": "You help."},
                {"role": "user", "content": "Switch the light on."},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"function": {"name": "HassTurnOn", "arguments": {"name": "light"}}}],
                    "thinking": None,
                },
                {"role": "tool", "tool_name": "HassTurnOn", "content": "Done."},
            ],
            "stream": True,
            "keep_alive": -1,
            "options": {"num_ctx": 16384, "num_predict": None, "stop": [], "temperature": 1.0, "top_p": None},
            "tools": [],
            "think": None,
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
        assert len(wanted.tools) == sum(tool.get("type") != "web_search" for tool in asked.get("tools", ()))


async def test_litellm_does_not_say_to_ollama_that_it_sends_json(tmp_path: Path) -> None:
    data = json.dumps({"model": "guide", "messages": ASKED, "options": {"temperature": 0}, "stream": False}).encode()
    async with serving(tmp_path) as box, box.client.post("/api/chat", data=data) as response:
        assert response.request_info.headers["Content-Type"] == "application/octet-stream"
        assert (await response.json())["message"]["content"] == "Hello you"


# What programs ask before the first question, and what of the answer they rely on.
PROBES: dict[str, tuple[str, str, dict[str, Any] | None, tuple[str, ...]]] = {
    "Claude Code, whether anybody is there": ("HEAD", "/", None, ()),
    "Claude Code, how long it is": (
        "POST",
        "/v1/messages/count_tokens?beta=true",
        {
            "model": "claude-sonnet-4-5",
            "messages": [{"role": "user", "content": "foo"}],
            "tools": [],
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        },
        ("input_tokens",),
    ),
    "Continue, LiteLLM": ("POST", "/api/show", {"name": "guide"}, ("template", "parameters", "model_info")),
    "LibreChat, SillyTavern": ("GET", "/v1/models", None, ("data.0.id",)),
    "SillyTavern, Ollama": ("GET", "/api/tags", None, ("models.0.name",)),
    "VS Code, its version": ("GET", "/api/version", None, ("version",)),
    "VS Code, a model": (
        "POST",
        "/api/show",
        {"model": "guide:latest"},
        ("template", "capabilities.0", "details.family", "model_info.general/architecture"),
    ),
    "Zed": (
        "GET",
        "/api/tags",
        None,
        (
            *("models.0.name", "models.0.modified_at", "models.0.size", "models.0.digest", "models.0.details.format"),
            *(f"models.0.details.{field}" for field in ("family", "parameter_size", "quantization_level")),
        ),
    ),
}


def at(value: Any, path: str) -> Any:
    """What stands there; a `/` in the path is a dot in a name."""
    for step in path.split("."):
        value = value[int(step) if isinstance(value, list) else step.replace("/", ".")]
    return value


@pytest.mark.parametrize("program", PROBES)
async def test_a_program_finds_what_it_looks_for(tmp_path: Path, program: str) -> None:
    method, path, asked, needed = PROBES[program]
    async with serving(tmp_path) as box, box.client.request(method, path, json=asked) as response:
        assert response.status == 200
        told = await response.json() if needed else None

        assert all(at(told, field) is not None for field in needed)


# What programs read of an answer without asking whether it is there.
RELIED = {
    "Zed": (
        "/v1/chat/completions",
        {"messages": ASKED},
        (
            *("id", "object", "created", "model", "choices.0.index", "choices.0.finish_reason"),
            *("choices.0.message.role", "choices.0.message.content"),
            *("usage.prompt_tokens", "usage.completion_tokens", "usage.total_tokens"),
        ),
    ),
    "Zed, Ollama": (
        "/api/chat",
        {"model": "guide", "messages": ASKED, "stream": False},
        ("model", "created_at", "message.role", "message.content", "done", "prompt_eval_count", "eval_count"),
    ),
    "AI SDK": (
        "/v1/responses",
        {"input": "Hi."},
        (
            *("id", "created_at", "model", "output.0.id", "output.0.type", "output.0.role"),
            *("output.0.content.0.text", "output.0.content.0.annotations"),
            *("usage.input_tokens", "usage.output_tokens"),
        ),
    ),
    "Cline": (
        "/v1/messages",
        {"max_tokens": 9, "messages": ASKED[1:]},
        ("id", "model", "content.0.text", "stop_reason", "usage.input_tokens", "usage.output_tokens"),
    ),
}


@pytest.mark.parametrize("program", RELIED)
async def test_what_a_program_relies_on_is_in_the_answer(tmp_path: Path, program: str) -> None:
    path, asked, needed = RELIED[program]
    async with serving(tmp_path) as box, box.client.post(path, json=asked) as response:
        told = await response.json()

        assert all(at(told, field) is not None for field in needed)
