"""What is sent to a child arrives in order, descriptors included, however far behind it is."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque

from edged.framing import encode
from edged.local.child import Child
from edged.prefix_wire import Forget, Offer
from edged.wire import Cancel, Frame
from edged.worker.pipe import Pipe


async def line() -> tuple[Child, Pipe]:
    """A child's two ends without a child."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    child = Child(lambda frame: None, lambda words: None)
    child._socket = ours
    child._transport, _ = await asyncio.get_running_loop().create_connection(lambda: child, sock=ours)
    child._transport.set_write_buffer_limits(0)
    return child, Pipe(theirs.detach())


async def test_descriptors_keep_their_place_among_frames_while_the_child_reads_nothing() -> None:
    child, pipe = await line()
    files = [os.memfd_create(str(number)) for number in range(20)]
    expected: list[Frame] = []
    for number, descriptor in enumerate(files):
        os.write(descriptor, b"%d" % number)
        filling: list[Frame] = [
            Cancel(number * 10_000 + n) for n in range(1500)
        ]  # 20 times 50 kB: more than a socket holds
        for frame in [*filling, Offer(number), Forget(number)]:
            child.send(frame, [descriptor] if isinstance(frame, Offer) else [])
            expected.append(frame)
        os.close(descriptor)  # it stays the caller's, also while its frame waits
    assert child._held

    came: deque[Frame] = deque()
    while len(came) < len(expected):
        for frame in await asyncio.to_thread(pipe.receive, wait=True):
            came.append(frame)
            if isinstance(frame, Offer):
                descriptor = pipe.take_descriptor()
                assert os.pread(descriptor, 10, 0) == b"%d" % frame.id
                os.close(descriptor)

    assert list(came) == expected
    assert not child._held
    child._transport.close()
    pipe._socket.close()


async def test_a_descriptor_that_finds_the_socket_full_to_the_last_byte_waits() -> None:
    child, pipe = await line()
    try:
        while True:
            child._socket.send(encode(Cancel(1)) * 1000)
    except BlockingIOError:
        pass
    sent = os.memfd_create("file")
    child.send(Offer(7), [sent])
    os.close(sent)
    assert child._held

    rest = b""
    while not rest.endswith(encode(Offer(7))):
        data, ancillary, _, _ = await asyncio.to_thread(pipe._socket.recvmsg, 65_536, 64)
        rest = (rest + data)[-100:]

    assert ancillary, "the descriptor came with the end of its frame"
    child._transport.close()
    pipe._socket.close()
