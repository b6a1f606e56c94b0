"""The two shapes of log-probabilities, and tokens that are no text."""

from __future__ import annotations

from edged.api.logprobs import chat_logprobs, completion_logprobs
from edged.completion import Candidate, TokenLogprob

HALVES = (
    TokenLogprob(b"a ", -0.5, (Candidate(b"a ", -0.5), Candidate(b"b", -1.5))),
    TokenLogprob("你".encode()[:2], -1.0, (Candidate(b"c", -0.25),)),
    TokenLogprob("你".encode()[2:], -2.0),
)


def test_a_chat_tells_each_token_with_its_bytes() -> None:
    told = chat_logprobs(HALVES)

    assert [token["token"] for token in told["content"]] == ["a ", "bytes:\\xe4\\xbd", "bytes:\\xa0"]
    assert bytes(byte for token in told["content"] for byte in token["bytes"]).decode() == "a 你"
    assert told["content"][0]["top_logprobs"] == [
        {"token": "a ", "logprob": -0.5, "bytes": [97, 32]},
        {"token": "b", "logprob": -1.5, "bytes": [98]},
    ]
    assert told["refusal"] is None


def test_a_completion_tells_them_side_by_side() -> None:
    assert completion_logprobs(HALVES, 7) == {
        "tokens": ["a ", "bytes:\\xe4\\xbd", "bytes:\\xa0"],
        "token_logprobs": [-0.5, -1.0, -2.0],
        "top_logprobs": [{"a ": -0.5, "b": -1.5}, {"c": -0.25, "bytes:\\xe4\\xbd": -1.0}, {"bytes:\\xa0": -2.0}],
        "text_offset": [7, 9, 10],
    }
