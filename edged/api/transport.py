"""How a request has come: what may be said on it, and whom it can be told apart from."""

from __future__ import annotations

import socket
from typing import Literal, TypeAlias

from aiohttp import web

Transport: TypeAlias = Literal["socket", "tls", "plain"]


def transport_of(request: web.Request) -> Transport:
    """`socket`: the control socket, which is its owner's; `tls`: encrypted; `plain`: anything else.

    What a request says of itself is not asked: no header makes it another's. One whose connection is gone is `plain`.
    """
    if request.transport is None:
        return "plain"
    if request.transport.get_extra_info("sslcontext") is not None:
        return "tls"
    connection = request.transport.get_extra_info("socket")
    return "socket" if connection is not None and connection.family == socket.AF_UNIX else "plain"
