"""Error classes and what they are over HTTP: one table of statuses, one envelope per dialect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

from edged import errors
from edged.errors import EdgedError
from edged.redaction import redacted

Dialect: TypeAlias = Literal["openai", "anthropic", "ollama"]

# Most derived class first is not needed: the nearest ancestor in the table wins.
_STATUS: dict[type[EdgedError], int] = {
    errors.RequestError: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.PayloadTooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.Cancelled: 499,  # no standard has one; nginx's, which Ollama uses too
    errors.HostNotAllowed: 421,
    errors.ModelInvalid: 422,
    errors.ChecksumMismatch: 422,
    errors.Conflict: 409,
    errors.ModelQuarantined: 422,
    errors.TemplateLimit: 422,
    errors.Unavailable: 503,
    errors.RateLimited: 429,
    errors.ProviderUnavailable: 502,
    errors.LoadTimeout: 504,
    errors.ModelTooLarge: 507,
    errors.DiskFull: 507,
    EdgedError: 500,
}
# OpenAI's `type` by status (platform.openai.com/docs/guides/error-codes); the rest are the caller's or the server's.
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


# Anthropic's `type` by status (platform.claude.com/docs/en/api/errors); its own 529 is our 503.
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def defect(request_id: str) -> errors.Internal:
    """What may be said of something that nobody foresaw; the log has the rest."""
    return errors.Internal(f"Something went wrong here; the log names request {request_id}.")


def dialect_of(path: str) -> Dialect:
    """Whose error a program expects that asked for `path`, which may begin with a key."""
    if path.startswith("/k/"):
        path = "/" + path.removeprefix("/k/").partition("/")[2]
    if path.startswith("/api/"):
        return "ollama"
    return "anthropic" if path.startswith("/v1/messages") else "openai"


def error_body(error: EdgedError, dialect: Dialect, request_id: str = "") -> dict[str, Any]:
    """The error in the dialect's shape, with our `code` and `src`; with the request's id where the dialect has it."""
    match dialect:
        case "openai":
            return openai_body(error)
        case "anthropic":
            return anthropic_body(error, request_id)
        case "ollama":
            return {"error": _message(error)} | _own(error)


def anthropic_body(error: EdgedError, request_id: str = "") -> dict[str, Any]:
    """The error in Anthropic's shape, with the field that is to blame.

    Programs look for Anthropic's own words about a prompt that is too long, and then shorten the conversation.
    """
    status, message, param = status_of(error), _message(error), getattr(error, "param", None)
    kind = _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    if isinstance(error, errors.ContextLengthExceeded):
        message = f"prompt is too long: {error.prompt_tokens} tokens > {error.context_tokens} maximum. {message}"
    named: dict[str, Any] = {"param": param} if param else {}
    if param == "thread" and isinstance(error, errors.UnsupportedParameter):
        # Anthropic's own word for it; the official client's tool runner then goes on without
        # (`types/thread_unsupported_request_error.py` there).
        named["details"] = {"error_code": "thread_unsupported_request"}
    identified: dict[str, Any] = {"request_id": request_id} if request_id else {}
    return {"type": "error", "error": {"type": kind, "message": message} | named | _own(error)} | identified


def status_of(error: EdgedError) -> int:
    """The HTTP status of an error."""
    return _status_of_class(type(error))


def codes_of(status: int) -> list[str]:
    """The codes of everything that has this status."""
    return list(dict.fromkeys(kind.code for kind in _below(EdgedError) if _status_of_class(kind) == status))


def headers_of(error: EdgedError) -> dict[str, str]:
    """Headers that an error brings: when to come back, which methods there are."""
    if isinstance(error, errors.Unavailable):
        return {"Retry-After": str(error.come_back_s)}
    if isinstance(error, errors.Unauthorized):
        return {"WWW-Authenticate": 'Bearer realm="edged"'}  # RFC 9110, 11.6.1: a 401 says how
    if isinstance(error, errors.MethodNotAllowed):
        return {"Allow": ", ".join(error.allowed)}
    return {}


def _status_of_class(error: type[EdgedError]) -> int:
    return next(_STATUS[kind] for kind in error.__mro__ if kind in _STATUS)


def _below(kind: type[EdgedError]) -> Iterator[type[EdgedError]]:
    yield kind
    for derived in kind.__subclasses__():
        yield from _below(derived)


def openai_body(error: EdgedError) -> dict[str, Any]:
    """The error in OpenAI's shape, with our `code` and `src`, and llama-server's numbers for an over-long prompt."""
    status = status_of(error)
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    body: dict[str, Any] = {
        "message": _message(error),
        "type": kind,
        "param": getattr(error, "param", None),
        **_own(error),
    }
    if isinstance(error, errors.ContextLengthExceeded):
        body |= {"n_prompt_tokens": error.prompt_tokens, "n_ctx": error.context_tokens}
    return {"error": body}


def _message(error: EdgedError) -> str:
    """Its sentence. A path or a value that a caller has sent may be a proof of who that is."""
    return redacted(str(error))


def _own(error: EdgedError) -> dict[str, Any]:
    """What edged adds to an error in every dialect."""
    own: dict[str, Any] = {"code": error.code, "src": "edged"}
    if isinstance(error, errors.Unavailable):
        own["retry_after_s"] = error.come_back_s  # in a stream there is no header for it any more
    if isinstance(error, errors.ModelTooLarge):
        own |= {"needed_bytes": error.needed_bytes, "available_bytes": error.available_bytes}
    if isinstance(error, errors.ModelLoading):
        own["progress"] = error.progress
    return own
