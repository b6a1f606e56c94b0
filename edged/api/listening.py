"""The sockets: TCP for everybody who may, with and without TLS, a Unix socket for the owner, while a block runs."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from aiohttp import web

from edged.api import guard
from edged.api.connections import CONNECTIONS
from edged.errors import ConfigError

# After the drain nothing of value runs any more; what still holds a connection is cut.
_CLOSE_S = 1.0
# Who connects while the loop is busy for a moment; further ones' systems try again.
_BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Secured:
    """A socket that listens, and the TLS that is spoken on it."""

    listener: socket.socket
    context: ssl.SSLContext


@asynccontextmanager
async def serving(
    app: web.Application, host: str, port: int, control: Path, secured: Secured | None = None
) -> AsyncIterator[tuple[str, ...]]:
    """Listen on TCP and on the control socket while the block runs, and where `secured` listens.

    Yields the addresses to open in a browser, those without TLS first.
    """
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_CLOSE_S)
    await runner.setup()
    try:
        server = runner.server
        assert server is not None
        with ExitStack() as listeners:
            if secured is not None:
                listeners.enter_context(secured.listener)
            listener = listeners.enter_context(_listen(host, port))
            owners = listeners.enter_context(_owners_socket(control))
            async with app[CONNECTIONS] as connections:
                connections.welcome(listener, server)
                connections.welcome(owners, server)
                addresses = _addresses(listener, "http")
                if secured is not None:
                    connections.welcome(secured.listener, server, secured.context)
                    addresses += _addresses(secured.listener, "https")
                yield addresses
    finally:
        await runner.cleanup()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `OSError`."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    is_everywhere = host == "::"
    return socket.create_server(
        (host, port),
        family=family,
        backlog=_BACKLOG,
        dualstack_ipv6=is_everywhere and socket.has_dualstack_ipv6(),
    )


def _listen(host: str, port: int) -> socket.socket:
    """The same. Raises `ConfigError` with what to do."""
    try:
        return listen(host, port)
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {host} port {port}: {error.strerror or error}. Choose another with --port or --host."
        ) from error


@contextmanager
def _owners_socket(control: Path) -> Iterator[socket.socket]:
    """The control socket, for this user only. One that a killed daemon left behind is replaced.

    Raises `ConfigError`; the usual reason is a path of more than 107 bytes (unix(7)).
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        control.unlink(missing_ok=True)
        listener.bind(str(control))
        control.chmod(0o600)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"The socket {control} cannot be made: {error}. Choose another --state-dir.") from error
    try:
        yield listener
    finally:
        listener.close()
        control.unlink(missing_ok=True)


def _addresses(listener: socket.socket, scheme: str) -> tuple[str, ...]:
    """What to type into a browser: one address, or for an open device its name and every IPv4 address that it has."""
    host, port = listener.getsockname()[:2]
    if not ipaddress.ip_address(host).is_unspecified:
        return (f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}",)
    interfaces = psutil.net_if_addrs().values()
    own = [found.address for interface in interfaces for found in interface if found.family == socket.AF_INET]
    hosts = [socket.gethostname(), *(address for address in own if not guard.is_loopback(address))]
    return tuple(f"{scheme}://{host}:{port}" for host in hosts)
