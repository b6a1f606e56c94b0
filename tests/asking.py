"""How the tests ask: through the official client, or with raw bytes where a client would not send them."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from openai import OpenAI, Stream
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.daemon_process import PATIENCE_S, DaemonProcess, until

CHAT = "/v1/chat/completions"


def client_of(daemon: DaemonProcess, timeout_s: float = PATIENCE_S) -> OpenAI:
    """The official client. It sends each request once, so that a test sees every refusal."""
    return OpenAI(base_url=f"{daemon.url}/v1", api_key="any", timeout=timeout_s, max_retries=0)


def chat(client: OpenAI, text: str, *, model: str, **options: Any) -> ChatCompletion:
    """The whole answer to one user message."""
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **options)
    assert isinstance(answer, ChatCompletion)
    return answer


def chunks(client: OpenAI, text: str, *, model: str, **options: Any) -> Stream[ChatCompletionChunk]:
    """The answer to one user message as a stream."""
    stream: Stream[ChatCompletionChunk] = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], stream=True, **options
    )
    return stream


def text_of(answer: ChatCompletion | Iterable[ChatCompletionChunk]) -> str:
    """What was said, by the first choice."""
    if isinstance(answer, ChatCompletion):
        return answer.choices[0].message.content or ""
    return "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)


def first_words(stream: Stream[ChatCompletionChunk]) -> str:
    """Read until there is text: from here on the answer is under way."""
    return next(text for chunk in stream if (text := chunk.choices[0].delta.content))


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back to raw bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error object. AssertionError where the body is not OpenAI's error shape."""
        error = json.loads(self.body)["error"]
        assert set(error) >= {"message", "type", "param", "code", "src"}, error
        assert error["src"] == "edged"
        assert error["message"]
        found: dict[str, Any] = error
        return found


def until_idle(daemon: DaemonProcess) -> None:
    """Return when no model's place is taken and the latest request was cancelled."""
    until(lambda: daemon.requests()[0]["outcome"] == "cancelled", "the request was cancelled")
    until(lambda: not any(found["busy"] for found in daemon.status()["residents"]), "all places are free")


def sending(
    daemon: DaemonProcess, body: Any, path: str = CHAT, headers: Mapping[str, str] | None = None
) -> AbstractContextManager[http.client.HTTPConnection]:
    """A connection on which `body` was sent and nothing was read; leaving the context hangs up."""
    address = urlsplit(daemon.url)
    assert address.hostname
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE_S)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", path, data, {"Content-Type": "application/json", **(headers or {})})
    return closing(connection)


def post(daemon: DaemonProcess, body: Any, path: str = CHAT, headers: Mapping[str, str] | None = None) -> Reply:
    """Send `body`, bytes as they are and anything else as JSON, and read the reply."""
    with sending(daemon, body, path, headers) as connection:
        response = connection.getresponse()
        return Reply(response.status, dict(response.headers), response.read())


def synthetic_tiny(folder: Path) -> Path:
    """A model with random weights that never ends by itself: its answers are as long as `max_tokens` says."""
    from benchmarks import synthetic  # loads numpy, which the other tests can do without

    return synthetic.build("tiny", "Q8_0", folder)
