"""The sockets: TCP for everybody who may, with and without TLS, a Unix socket for the owner, while a block runs."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from aiohttp import web

from edged.api import guard
from edged.errors import ConfigError

# After the drain nothing of value runs any more; what still holds a connection is cut.
_CLOSE_S = 1.0
# A handshake is a round trip or two and milliseconds of arithmetic; asyncio would wait for one for a minute.
_HANDSHAKE_S = 10.0


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
    # A compressed body is refused in words (`api/body.py`); aiohttp would unpack it first, or answer without them.
    runner = web.AppRunner(
        app, handler_cancellation=True, access_log=None, shutdown_timeout=_CLOSE_S, auto_decompress=False
    )
    await runner.setup()
    try:
        listener = _listen(host, port)
        await web.SockSite(runner, listener).start()
        async with AsyncExitStack() as further:
            owners = further.enter_context(_owners_socket(control))
            await web.SockSite(runner, owners).start()
            addresses = _addresses(listener, "http")
            if secured is not None:
                await further.enter_async_context(_speaking_tls(runner, secured))
                addresses += _addresses(secured.listener, "https")
            yield addresses
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _speaking_tls(runner: web.AppRunner, secured: Secured) -> AsyncIterator[None]:
    """Let `runner` answer there, too. aiohttp's own sites cannot be told how long a handshake may take."""
    assert runner.server is not None
    server = await asyncio.get_running_loop().create_server(
        runner.server,
        sock=secured.listener,
        ssl=secured.context,
        ssl_handshake_timeout=_HANDSHAKE_S,
        ssl_shutdown_timeout=_CLOSE_S,
    )
    try:
        yield
    finally:
        server.close()  # what is open the runner ends


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `OSError`."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    is_everywhere = host == "::"
    return socket.create_server(
        (host, port), family=family, dualstack_ipv6=is_everywhere and socket.has_dualstack_ipv6()
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
    except OSError as error:
        listener.close()
        raise ConfigError(f"The socket {control} cannot be made: {error}. Choose another --state-dir.") from error
    try:
        yield listener
    finally:
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
