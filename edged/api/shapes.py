"""What the main answers look like, as JSON schemas: what a program may rely on, not all that there is.

A field that an object must have is there in every answer; further ones may be there and are named where clients want
them. Held true by `tests/api/test_openapi.py`, which checks real answers against them. The shapes themselves come from
the dialects; their sources are named in `openai_answer.py` and its siblings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, get_args

from edged.chat import Ability

Schema: TypeAlias = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_NUMBER: Schema = {"type": "number"}
_ANY: Schema = {"type": "object"}


def ref(name: str) -> Schema:
    """The shape called `name`, wherever it is spelled out."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(must: Mapping[str, Schema], may: Mapping[str, Schema] | None = None, about: str = "") -> Schema:
    described = {"description": about} if about else {}
    return {"type": "object"} | described | {"properties": {**must, **(may or {})}, "required": list(must)}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_DETAILS = {"code": {**_TEXT, "description": "What programs may rely on."}, "src": _one_of("edged")}
_LATER = {"retry_after_s": {**_COUNT, "description": "When to come back, in seconds; as the Retry-After header."}}
_FINISH = _one_of("stop", "length", "tool_calls")
_CALL = _object({"id": _TEXT, "type": _one_of("function"), "function": _object({"name": _TEXT, "arguments": _TEXT})})
_ITEM = _object({"id": _TEXT, "type": _one_of("reasoning", "message", "function_call"), "status": _TEXT})
_BLOCK = _object(
    {"type": _one_of("text", "thinking", "tool_use")},
    {"text": _TEXT, "thinking": _TEXT, "signature": _TEXT, "id": _TEXT, "name": _TEXT, "input": _ANY},
)
_OLLAMA_COMMON = {"model": _TEXT, "created_at": _TEXT, "done": _FLAG}
_OLLAMA_END = {
    "done_reason": _one_of("stop", "length", "load", "unload"),
    "total_duration": {**_COUNT, "description": "In nanoseconds, as all durations of Ollama's."},
    "prompt_eval_count": _COUNT,
    "eval_count": _COUNT,
    "edged": ref("Facts"),
}
_FOUND = _object({"served_by": _TEXT, "model": _TEXT, "route": _TEXT})
_PROMPT_USAGE = _object({"prompt_tokens": _COUNT, "total_tokens": _COUNT})

_PULL = _object(
    {
        "id": _TEXT,
        "reference": _TEXT,
        "name": _TEXT,
        "state": _one_of("queued", "waiting", "resolving", "fetching", "verifying", "done", "failed", "cancelled"),
        "total_bytes": _or_null(_COUNT),
        "done_bytes": _COUNT,
        "bytes_per_s": _or_null(_NUMBER),
        "eta_s": _or_null(_NUMBER),
        "reason": {**_TEXT, "description": "Why it waits."},
        "code": {**_TEXT, "description": "Why it failed, for programs."},
        "message": {**_TEXT, "description": "Why it failed, for people."},
    },
    about="A model that is fetched, as it stands.",
)
_INSTALLED = _object(
    {
        "name": _TEXT,
        "size_bytes": _COUNT,
        "modified_s": _COUNT,
        "made_for": _or_null(_TEXT),
        "abilities": _list(_TEXT),
        "resident": _FLAG,
        "problem": _or_null(_TEXT),
        "record": {"anyOf": [_ANY, {"type": "null"}], "description": "Where it came from; null for the owner's files."},
    }
)
_JUDGED = _object(
    {
        "name": _TEXT,
        "reference": _TEXT,
        "licence": _TEXT,
        "parameters": _COUNT,
        "languages": _TEXT,
        "purpose": _one_of("chat", "embeddings"),
        "about": _TEXT,
        "sources": {"type": "object", "description": "For every fact the address where it was read."},
        "size_bytes": _COUNT,
        "checked": {**_or_null(_TEXT), "description": "When the hub last had it; null: the size is a guess."},
        "tokens_per_s": _or_null(_NUMBER),
        "download_s": _or_null(_NUMBER),
        "installed": _FLAG,
        "fits": _FLAG,
        "verdict": _one_of("best", "smaller", "slow", "no_memory", "no_disk", "unverified"),
        "reason": _TEXT,
    }
)

_FACTS = ("architecture", "size_label", "quantization", "license", "problem", "quarantine")

SHAPES: dict[str, Schema] = {
    "OpenAIError": _object(
        {"error": _object({"message": _TEXT, "type": _TEXT, "param": _or_null(_TEXT), **_DETAILS}, _LATER)},
        about="What went wrong, in OpenAI's shape.",
    ),
    "AnthropicError": _object(
        {"type": _one_of("error"), "error": _object({"type": _TEXT, "message": _TEXT, **_DETAILS}, _LATER)},
        {"request_id": _TEXT},
        about="What went wrong, in Anthropic's shape.",
    ),
    "OllamaError": _object({"error": _TEXT, **_DETAILS}, _LATER, about="What went wrong, in Ollama's shape."),
    "Facts": _object(
        {"served_by": _TEXT, "model": _TEXT, "route": _TEXT, "lane": _one_of("interactive", "background")},
        {
            "queue_ms": _NUMBER,
            "ttft_ms": _or_null(_NUMBER),
            "cached_tokens": _COUNT,
            "dropped_messages": _COUNT,
        },
        about="The truth about an answer, at its end: who gave it, why, and how long it took.",
    ),
    "Usage": _object({"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT}),
    "ChatCompletion": _object(
        {
            "id": _TEXT,
            "object": _one_of("chat.completion"),
            "created": _COUNT,
            "model": {**_TEXT, "description": "The model that really answered."},
            "choices": _list(
                _object(
                    {
                        "index": _COUNT,
                        "finish_reason": _FINISH,
                        "message": _object(
                            {"role": _one_of("assistant"), "content": _or_null(_TEXT)},
                            {"reasoning_content": _TEXT, "tool_calls": _list(_CALL)},
                        ),
                        "logprobs": _or_null(_ANY),
                    }
                )
            ),
            "usage": ref("Usage"),
            "edged": ref("Facts"),
        },
        {"timings": _ANY},
        about="Streamed: chunks (`chat.completion.chunk`) with a `delta` in each choice, and at the end `[DONE]`.",
    ),
    "Completion": _object(
        {
            "id": _TEXT,
            "object": _one_of("text_completion"),
            "created": _COUNT,
            "model": _TEXT,
            "choices": _list(
                _object({"index": _COUNT, "text": _TEXT, "finish_reason": _FINISH, "logprobs": _or_null(_ANY)})
            ),
            "usage": ref("Usage"),
            "edged": ref("Facts"),
        },
        {"timings": _ANY},
        about="Streamed: the same with a piece of each choice's text, and at the end `[DONE]`.",
    ),
    "Response": _object(
        {
            "id": _TEXT,
            "object": _one_of("response"),
            "created_at": _COUNT,
            "status": _one_of("completed", "incomplete", "failed"),
            "model": _TEXT,
            "output": _list(_ITEM),
            "usage": _object({"input_tokens": _COUNT, "output_tokens": _COUNT, "total_tokens": _COUNT}),
            "edged": ref("Facts"),
        },
        about="Streamed: `response.created`, items and their pieces, `response.completed` with all of it.",
    ),
    "Message": _object(
        {
            "id": _TEXT,
            "type": _one_of("message"),
            "role": _one_of("assistant"),
            "model": _TEXT,
            "content": _list(_BLOCK),
            "stop_reason": _one_of(
                "end_turn", "max_tokens", "tool_use", "stop_sequence", "model_context_window_exceeded"
            ),
            "stop_sequence": _or_null(_TEXT),
            "usage": _object({"input_tokens": _COUNT, "cache_read_input_tokens": _COUNT, "output_tokens": _COUNT}),
            "edged": ref("Facts"),
        },
        about="Streamed: `message_start`, blocks and their pieces, `message_delta`, `message_stop`.",
    ),
    "OllamaChat": _object(
        {
            **_OLLAMA_COMMON,
            "message": _object(
                {"role": _one_of("assistant"), "content": _TEXT}, {"thinking": _TEXT, "tool_calls": _list(_ANY)}
            ),
        },
        _OLLAMA_END,
        about="Streamed: a line of JSON per piece; the last has `done: true` and the numbers.",
    ),
    "OllamaText": _object(
        {**_OLLAMA_COMMON, "response": _TEXT},
        {"thinking": _TEXT, **_OLLAMA_END},
        about="Streamed: a line of JSON per piece; the last has `done: true` and the numbers.",
    ),
    "Stream": {"description": "What is left of the answer, in the shapes of the route that began it."},
    "Streams": _list(
        _object({"conversation_id": _TEXT, "is_done": _FLAG, "total_bytes": _COUNT, "started_at": _COUNT})
    ),
    "Embeddings": _object(
        {
            "object": _one_of("list"),
            "data": _list(
                _object(
                    {"index": _COUNT, "embedding": {"anyOf": [_list(_NUMBER), {**_TEXT, "contentEncoding": "base64"}]}}
                )
            ),
            "model": _TEXT,
            "usage": _PROMPT_USAGE,
            "edged": _FOUND,
        }
    ),
    "OllamaVectors": _object({"model": _TEXT, "embeddings": _list(_list(_NUMBER))}, {"prompt_eval_count": _COUNT}),
    "OllamaVector": _object({"embedding": _list(_NUMBER)}),
    "Ranking": _object(
        {
            "id": _TEXT,
            "results": _list(_object({"index": _COUNT, "relevance_score": _NUMBER}, {"document": _ANY})),
            "model": _TEXT,
            "usage": _PROMPT_USAGE,
            "edged": _FOUND,
        },
        about="Best first.",
    ),
    "TokenCount": _object({"input_tokens": _COUNT, "edged": _object({"reusable_tokens": _COUNT})}),
    "Tokens": _object(
        {
            "tokens": _list(
                {"anyOf": [_COUNT, _object({"id": _COUNT, "piece": {"anyOf": [_TEXT, _list(_COUNT)]}})]},
            )
        }
    ),
    "Text": _object({"content": _TEXT}),
    "Prompt": _object({"prompt": _TEXT}),
    "Model": _object(
        {
            "id": _TEXT,
            "object": _one_of("model"),
            "created": _COUNT,
            "owned_by": _TEXT,
            "edged": _object(
                {
                    "context_tokens": _or_null(_COUNT),
                    "longest_context_tokens": _or_null(_COUNT),
                    "size_bytes": _COUNT,
                    "resident": _FLAG,
                    "made_for": _or_null(_TEXT),
                    "capabilities": _list(_one_of(*get_args(Ability))),
                    "languages": _list(_TEXT),
                    **dict.fromkeys(_FACTS, _or_null(_TEXT)),
                }
            ),
        }
    ),
    "Models": _object({"object": _one_of("list"), "data": _list(ref("Model"))}, about="The default model first."),
    "OllamaModels": _object(
        {"models": _list(_object({"name": _TEXT, "model": _TEXT, "size": _COUNT, "digest": _TEXT, "details": _ANY}))}
    ),
    "OllamaModel": _object(
        {"template": _TEXT, "details": _ANY, "model_info": _ANY, "capabilities": _list(_TEXT), "modified_at": _TEXT}
    ),
    "Version": _object({"version": {**_TEXT, "description": "Which Ollama's API this is."}, "edged": _TEXT}),
    "Pulled": _object({"status": _one_of("success")}),
    "Pull": _PULL,
    "Pulls": _object({"pulls": _list(ref("Pull"))}, about="The one that runs, those that wait, the last that ended."),
    "Import": _object(
        {
            "id": _TEXT,
            "name": _TEXT,
            "size_bytes": _COUNT,
            "sha256": _or_null(_TEXT),
            "offset": _COUNT,
            "installed": _FLAG,
        },
        about="A model on its way here; it goes on at its offset.",
    ),
    "Imports": _object({"imports": _list(ref("Import"))}),
    "Scrub": _object(
        {
            "running": _FLAG,
            "models": _list(
                _object(
                    {
                        "name": _TEXT,
                        "state": _one_of("checking", "good", "mending", "mended", "bad"),
                        "done_bytes": _COUNT,
                        "size_bytes": _COUNT,
                        "message": _TEXT,
                    }
                )
            ),
        },
        about="What was found of every model that was reached.",
    ),
    "Installed": _object({"models": _list(_INSTALLED)}, about="The default model first."),
    "Deleted": _object({"name": _TEXT, "size_bytes": _COUNT}),
    "Catalogue": _object(
        {
            "device": _ANY,
            "best": _object({"chat": _or_null(_TEXT), "embeddings": _or_null(_TEXT)}),
            "models": _list(_JUDGED),
        },
        about="Models that can be fetched by name, judged for this device.",
    ),
    "Alive": _object({"status": _one_of("alive")}),
    "Ready": _object(
        {"status": _one_of("ready", "unready")},
        {"code": _TEXT, "message": _TEXT, "progress": _NUMBER, "eta_s": _NUMBER},
    ),
    "Health": _object({}, {"status": _one_of("ok"), "error": _ANY}, about="Word for word as llama-server answers."),
    "Metrics": {"type": "string", "description": "Prometheus's text format."},
    "Status": _object(
        {
            "version": _TEXT,
            "addresses": _list(_TEXT),
            "uptime_s": _NUMBER,
            "default_model": _TEXT,
            "running": _COUNT,
            "queued": _COUNT,
            "residents": _list(_object({"model": _TEXT, "state": _TEXT, "slots": _COUNT, "busy": _COUNT})),
            "quarantined": _list(_object({"model": _TEXT, "since": _COUNT, "reason": _TEXT})),
        }
    ),
    "Requests": _object(
        {"requests": _list(_object({"id": _TEXT, "time": _NUMBER, "dialect": _TEXT, "outcome": _or_null(_TEXT)}))},
        about="Newest first. Never a prompt or an answer.",
    ),
    "Events": _object(
        {"events": _list(_object({"number": _COUNT, "time": _NUMBER, "event": _TEXT}))}, about="Oldest first."
    ),
    "Description": _object({"openapi": _TEXT, "info": _ANY, "paths": _ANY, "components": _ANY}),
    "Page": {"type": "string", "description": "A page for people."},
}
