"""A child's end of the line: nothing is lost, and nothing blocks that must not."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edged.framing import Decoder, encode
from edged.wire import Cancel, Frame, Loading, Output, Step
from edged.worker.pipe import Pipe


@contextmanager
def a_line() -> Iterator[tuple[socket.socket, Pipe]]:
    """The daemon's end as a plain socket, the child's as a `Pipe`."""
    ours, theirs = socket.socketpair()
    pipe = Pipe(theirs.detach())
    with ours, pipe._socket:  # a child never closes its end, it exits
        yield ours, pipe


def test_frames_arrive_at_both_ends_in_order() -> None:
    with a_line() as (daemon, pipe):
        daemon.sendall(encode(Cancel(1)) + encode(Cancel(2))[:5])
        assert pipe.receive(wait=True) == [Cancel(1)]
        daemon.sendall(encode(Cancel(2))[5:])
        assert pipe.receive(wait=True) == [Cancel(2)]
        pipe.send(Loading(0.5))
        assert daemon.recv(100) == encode(Loading(0.5))


def test_without_waiting_nothing_blocks() -> None:
    with a_line() as (_daemon, pipe):
        # socket.recv_fds ignores its flags: this very call hung once, and pytest's timeout is what fails it.
        assert pipe.receive(wait=False) == []


def test_without_waiting_what_has_come_is_taken() -> None:
    with a_line() as (daemon, pipe):
        daemon.sendall(encode(Cancel(7)))

        assert pipe.receive(wait=False) == [Cancel(7)]


@pytest.mark.parametrize("wait", [True, False])
def test_hanging_up_is_an_end_of_file(wait: bool) -> None:
    with a_line() as (daemon, pipe):
        daemon.sendall(encode(Cancel(7)))
        daemon.close()

        assert pipe.receive(wait=wait) == [Cancel(7)]
        with pytest.raises(EOFError):
            pipe.receive(wait=wait)


@pytest.mark.parametrize("wait", [True, False])
def test_descriptors_travel_beside_a_frame_in_order(wait: bool) -> None:
    (read_a, write_a), (read_b, write_b) = os.pipe(), os.pipe()
    with a_line() as (daemon, pipe):
        socket.send_fds(daemon, [encode(Cancel(1))], [read_a, read_b])
        for descriptor in (read_a, read_b):
            os.close(descriptor)
        assert pipe.receive(wait=wait) == [Cancel(1)]

    os.write(write_a, b"first")
    os.write(write_b, b"second")
    assert [os.read(descriptor, 10) for descriptor in pipe.descriptors] == [b"first", b"second"]
    for descriptor in (*pipe.descriptors, write_a, write_b):
        os.close(descriptor)


def test_a_frame_larger_than_any_buffer_passes_through() -> None:
    step = Step(tuple(Output(id, "你" * 1000, 1000) for id in range(300)), 0, 1.0, 0.5, 0.1)
    with a_line() as (daemon, pipe):
        sending = threading.Thread(target=pipe.send, args=(step,))
        sending.start()
        decoder, came = Decoder(), list[Frame]()
        while not came:
            came += decoder.feed(daemon.recv(65_536))
        sending.join()

    assert came == [step]
