"""Frames survive the trip whole, and nothing that is not a frame gets through."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.framing import MAX_FRAME_BYTES, Decoder, WireError, decode, encode
from edged.sampling import Sampling
from edged.template_wire import Refused, Span
from edged.wire import Frame, Generate, Loaded, Loading

FRAMES = get_args(Frame)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that a frame's field may have."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return st.one_of(*[st.none() if argument is NoneType else values(argument) for argument in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=4).map(tuple)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        build: Any = kind
        return st.builds(build, *[values(hints[field.name]) for field in fields(kind)])
    return {
        str: st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        int: st.integers(-(2**63), 2**64),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        bytes: st.binary(max_size=20),
    }[kind]


def frames() -> st.SearchStrategy[Frame]:
    return st.one_of(*[values(kind) for kind in FRAMES])


@given(frames())
def test_every_frame_comes_back_equal_and_on_one_line(frame: Frame) -> None:
    line = encode(frame)

    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line) == frame


@given(st.lists(frames(), max_size=4), st.data())
def test_a_decoder_yields_the_same_frames_however_the_bytes_are_cut(sent: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(map(encode, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = Decoder()

    came = [
        frame
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for frame in decoder.feed(stream[start:end])
    ]

    assert came == sent


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b"5",
        b'["Cancel"]',
        b'["Cancel",{"id":1},3]',
        b'{"Cancel":{"id":1}}',
        b'["Nobody",{}]',
        b'[["Cancel"],{"id":1}]',
        b'["Cancel",[1]]',
        b'["Cancel",null]',
        b'["Cancel",{}]',
        b'["Cancel",{"id":1,"also":2}]',
        b'["Cancel",{"number":1}]',
        b'["Cancel",{"id":"1"}]',
        b'["Cancel",{"id":1.0}]',
        b'["Cancel",{"id":null}]',
        b'["Cancel",{"id":true}]',
        b'["Cancel",{"id":' + b"9" * 5000 + b"}]",
        b'["Loading",{"progress":true}]',
        b'["Loading",{"progress":"0.5"}]',
        b'["Loading",{"progress":' + b"9" * 400 + b"}]",
        b'["LoadFailed",{"message":5}]',
        b'["Rendered",{"id":1,"prompt":"text"}]',
        b'["Rendered",{"id":1,"prompt":{"text":"a","literal":false}}]',
        b'["Rendered",{"id":1,"prompt":[{"text":"a"}]}]',
        b'["Rendered",{"id":1,"prompt":[{"text":"a","literal":0}]}]',
        b'["Render",{"id":1,"turns":[{"role":"robot","parts":[]}]}]',
        b'["Render",{"id":1,"turns":[{"role":["user"],"parts":[]}]}]',
        b"\xff\xfe",
        b'["Refused",{"id":1,"message":"\xff"}]',
        b"[" * 100_000,
    ],
)
def test_what_does_not_fit_a_frame_exactly_is_a_wire_error(line: bytes) -> None:
    with pytest.raises(WireError):
        decode(line)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_a_wire_error(number: str) -> None:
    with pytest.raises(WireError):
        decode(b'["Loading",{"progress":' + number.encode() + b"}]")


@given(frames(), st.data())
def test_one_field_more_or_less_is_a_wire_error(frame: Frame, data: st.DataObject) -> None:
    name, body = json.loads(encode(frame))
    if body and data.draw(st.booleans()):
        del body[data.draw(st.sampled_from(sorted(body)))]
    else:
        body["unheard_of"] = 1

    with pytest.raises(WireError):
        decode(json.dumps([name, body]).encode())


@given(st.binary(max_size=200))
def test_noise_is_a_wire_error_and_nothing_worse(noise: bytes) -> None:
    with pytest.raises(WireError):
        list(Decoder().feed(noise + b"\n"))


def test_an_integer_is_a_fine_float() -> None:
    frame = decode(b'["Loading",{"progress":1}]')

    assert frame == Loading(1.0)
    assert isinstance(frame, Loading)
    assert type(frame.progress) is float


def test_a_frame_larger_than_the_limit_is_not_sent() -> None:
    with pytest.raises(WireError, match=r"Refused frame of \d+ bytes exceeds"):
        encode(Refused(1, "x" * MAX_FRAME_BYTES))


def test_the_largest_frame_that_is_sent_is_received() -> None:
    room = MAX_FRAME_BYTES - len(encode(Refused(1, "")))
    frame = Refused(1, "x" * room)

    assert list(Decoder().feed(encode(frame))) == [frame]


@pytest.mark.parametrize("end", [b"", b'"}]\n'], ids=["unfinished", "finished"])
def test_a_line_larger_than_the_limit_is_not_received(end: bytes) -> None:
    line = b'["Refused",{"id":1,"message":"' + b"x" * MAX_FRAME_BYTES + end

    with pytest.raises(WireError, match=str(MAX_FRAME_BYTES)):
        list(Decoder().feed(line))


def test_what_has_no_place_on_the_wire_is_not_encoded() -> None:
    controls: Any = {"a set"}

    with pytest.raises(TypeError, match="set has no place on the wire"):
        encode(Loaded(1, "", "", "", controls, "", 1, 1))


def test_texts_keep_every_character() -> None:
    text = "\0\n\r\u2028\U0010ffff\U000f0000你好🙂\x7f"

    assert decode(encode(Refused(1, text))) == Refused(1, text)


def test_a_generate_frame_keeps_none_apart_from_zero() -> None:
    frame = Generate(
        1,
        (Span("hi"), Span("<|end|>", literal=True)),
        0,
        Sampling(temperature=0.0, seed=None),
        ("x",),
        lane="background",
        markers=("[TOOL_CALLS]", "<｜tool▁sep｜>"),
    )

    assert decode(encode(frame)) == frame
