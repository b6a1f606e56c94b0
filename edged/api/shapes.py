"""What the main answers look like, as JSON schemas: what a program may rely on, not all that there is.

A field that an object must have is there in every answer; further ones may be there and are named where clients want
them. Held true by `tests/api/test_openapi.py`, which checks real answers against them. The shapes themselves come from
the dialects; their sources are named in `openai_answer.py` and its siblings.
"""

from __future__ import annotations

from typing import get_args

from edged.api.own_shapes import OWN_SHAPES
from edged.api.schema import ANY, COUNT, FLAG, NUMBER, TEXT, Schema, list_of, object_of, one_of, or_null, ref
from edged.chat import Ability

_DETAILS = {"code": {**TEXT, "description": "What programs may rely on."}, "src": one_of("edged")}
_LATER = {"retry_after_s": {**COUNT, "description": "When to come back, in seconds; as the Retry-After header."}}
_FINISH = one_of("stop", "length", "tool_calls")
_CALL = object_of({"id": TEXT, "type": one_of("function"), "function": object_of({"name": TEXT, "arguments": TEXT})})
_ITEM = object_of({"id": TEXT, "type": one_of("reasoning", "message", "function_call"), "status": TEXT})
_BLOCK = object_of(
    {"type": one_of("text", "thinking", "tool_use")},
    {"text": TEXT, "thinking": TEXT, "signature": TEXT, "id": TEXT, "name": TEXT, "input": ANY},
)
_OLLAMA_COMMON = {"model": TEXT, "created_at": TEXT, "done": FLAG}
_OLLAMA_END = {
    "done_reason": one_of("stop", "length", "load", "unload"),
    "total_duration": {**COUNT, "description": "In nanoseconds, as all durations of Ollama's."},
    "prompt_eval_count": COUNT,
    "eval_count": COUNT,
    "edged": ref("Facts"),
}
_FOUND = object_of({"served_by": TEXT, "model": TEXT, "route": TEXT})
_PROMPT_USAGE = object_of({"prompt_tokens": COUNT, "total_tokens": COUNT})

SHAPES: dict[str, Schema] = {
    "OpenAIError": object_of(
        {"error": object_of({"message": TEXT, "type": TEXT, "param": or_null(TEXT), **_DETAILS}, _LATER)},
        about="What went wrong, in OpenAI's shape.",
    ),
    "AnthropicError": object_of(
        {"type": one_of("error"), "error": object_of({"type": TEXT, "message": TEXT, **_DETAILS}, _LATER)},
        {"request_id": TEXT},
        about="What went wrong, in Anthropic's shape.",
    ),
    "OllamaError": object_of({"error": TEXT, **_DETAILS}, _LATER, about="What went wrong, in Ollama's shape."),
    "Facts": object_of(
        {"served_by": TEXT, "model": TEXT, "route": TEXT, "lane": one_of("interactive", "background")},
        {
            "queue_ms": NUMBER,
            "ttft_ms": or_null(NUMBER),
            "cached_tokens": COUNT,
            "dropped_messages": COUNT,
        },
        about="The truth about an answer, at its end: who gave it, why, and how long it took.",
    ),
    "Usage": object_of({"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT}),
    "ChatCompletion": object_of(
        {
            "id": TEXT,
            "object": one_of("chat.completion"),
            "created": COUNT,
            "model": {**TEXT, "description": "The model that really answered."},
            "choices": list_of(
                object_of(
                    {
                        "index": COUNT,
                        "finish_reason": _FINISH,
                        "message": object_of(
                            {"role": one_of("assistant"), "content": or_null(TEXT)},
                            {"reasoning_content": TEXT, "tool_calls": list_of(_CALL)},
                        ),
                        "logprobs": or_null(ANY),
                    }
                )
            ),
            "usage": ref("Usage"),
            "edged": ref("Facts"),
        },
        {"timings": ANY},
        about="Streamed: chunks (`chat.completion.chunk`) with a `delta` in each choice, and at the end `[DONE]`.",
    ),
    "Completion": object_of(
        {
            "id": TEXT,
            "object": one_of("text_completion"),
            "created": COUNT,
            "model": TEXT,
            "choices": list_of(
                object_of({"index": COUNT, "text": TEXT, "finish_reason": _FINISH, "logprobs": or_null(ANY)})
            ),
            "usage": ref("Usage"),
            "edged": ref("Facts"),
        },
        {"timings": ANY},
        about="Streamed: the same with a piece of each choice's text, and at the end `[DONE]`.",
    ),
    "Response": object_of(
        {
            "id": TEXT,
            "object": one_of("response"),
            "created_at": COUNT,
            "status": one_of("completed", "incomplete", "failed"),
            "model": TEXT,
            "output": list_of(_ITEM),
            "usage": object_of({"input_tokens": COUNT, "output_tokens": COUNT, "total_tokens": COUNT}),
            "edged": ref("Facts"),
        },
        about="Streamed: `response.created`, items and their pieces, `response.completed` with all of it.",
    ),
    "Message": object_of(
        {
            "id": TEXT,
            "type": one_of("message"),
            "role": one_of("assistant"),
            "model": TEXT,
            "content": list_of(_BLOCK),
            "stop_reason": one_of(
                "end_turn", "max_tokens", "tool_use", "stop_sequence", "model_context_window_exceeded"
            ),
            "stop_sequence": or_null(TEXT),
            "usage": object_of({"input_tokens": COUNT, "cache_read_input_tokens": COUNT, "output_tokens": COUNT}),
            "edged": ref("Facts"),
        },
        about="Streamed: `message_start`, blocks and their pieces, `message_delta`, `message_stop`.",
    ),
    "OllamaChat": object_of(
        {
            **_OLLAMA_COMMON,
            "message": object_of(
                {"role": one_of("assistant"), "content": TEXT}, {"thinking": TEXT, "tool_calls": list_of(ANY)}
            ),
        },
        _OLLAMA_END,
        about="Streamed: a line of JSON per piece; the last has `done: true` and the numbers.",
    ),
    "OllamaText": object_of(
        {**_OLLAMA_COMMON, "response": TEXT},
        {"thinking": TEXT, **_OLLAMA_END},
        about="Streamed: a line of JSON per piece; the last has `done: true` and the numbers.",
    ),
    "Stream": {"description": "What is left of the answer, in the shapes of the route that began it."},
    "Streams": list_of(
        object_of({"conversation_id": TEXT, "is_done": FLAG, "total_bytes": COUNT, "started_at": COUNT})
    ),
    "Embeddings": object_of(
        {
            "object": one_of("list"),
            "data": list_of(
                object_of(
                    {"index": COUNT, "embedding": {"anyOf": [list_of(NUMBER), {**TEXT, "contentEncoding": "base64"}]}}
                )
            ),
            "model": TEXT,
            "usage": _PROMPT_USAGE,
            "edged": _FOUND,
        }
    ),
    "OllamaVectors": object_of({"model": TEXT, "embeddings": list_of(list_of(NUMBER))}, {"prompt_eval_count": COUNT}),
    "OllamaVector": object_of({"embedding": list_of(NUMBER)}),
    "Ranking": object_of(
        {
            "id": TEXT,
            "results": list_of(object_of({"index": COUNT, "relevance_score": NUMBER}, {"document": ANY})),
            "model": TEXT,
            "usage": _PROMPT_USAGE,
            "edged": _FOUND,
        },
        about="Best first.",
    ),
    "TokenCount": object_of({"input_tokens": COUNT, "edged": object_of({"reusable_tokens": COUNT})}),
    "Tokens": object_of(
        {
            "tokens": list_of(
                {"anyOf": [COUNT, object_of({"id": COUNT, "piece": {"anyOf": [TEXT, list_of(COUNT)]}})]},
            )
        }
    ),
    "Text": object_of({"content": TEXT}),
    "Prompt": object_of({"prompt": TEXT}),
    "Model": object_of(
        {
            "id": TEXT,
            "object": one_of("model"),
            "created": COUNT,
            "owned_by": TEXT,
            "edged": object_of(
                {
                    "context_tokens": or_null(COUNT),
                    "longest_context_tokens": or_null(COUNT),
                    "size_bytes": COUNT,
                    "resident": FLAG,
                    "made_for": or_null(TEXT),
                    "quarantine": or_null(TEXT),
                    "capabilities": list_of(one_of(*get_args(Ability))),
                    "languages": list_of(TEXT),
                    "architecture": or_null(TEXT),
                    "parameters": or_null(COUNT),
                    "size_label": or_null(TEXT),
                    "quantization": or_null(TEXT),
                    "license": or_null(TEXT),
                    "base_models": list_of(TEXT),
                    "problem": or_null(TEXT),
                }
            ),
        }
    ),
    "Models": object_of({"object": one_of("list"), "data": list_of(ref("Model"))}, about="The default model first."),
    "OllamaModels": object_of(
        {"models": list_of(object_of({"name": TEXT, "model": TEXT, "size": COUNT, "digest": TEXT, "details": ANY}))}
    ),
    "OllamaModel": object_of(
        {"template": TEXT, "details": ANY, "model_info": ANY, "capabilities": list_of(TEXT), "modified_at": TEXT}
    ),
    "Version": object_of({"version": {**TEXT, "description": "Which Ollama's API this is."}, "edged": TEXT}),
    "Pulled": object_of({"status": one_of("success")}),
    **OWN_SHAPES,
    "Description": object_of({"openapi": TEXT, "info": ANY, "paths": ANY, "components": ANY}),
    "Page": {"type": "string", "description": "A page for people."},
}
