"""Proxies in the hands of a test: HTTP CONNECT and SOCKS, done well or badly."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import anyio
import anyio.abc
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"

BROKEN = (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError, ssl.SSLError)


class ForwardProxy:
    """A proxy that runs."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heard: list[bytes] = []
        """What clients have said until they had their tunnel."""
        self.targets: list[tuple[str, int]] = []
        """Where they wanted to be connected to."""

    def url(self, scheme: str = "http", user: str = "", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{user}{'@' if user else ''}{host}:{self.port}"


Script = Callable[[ForwardProxy, ByteStream], Awaitable[None]]
"""What a proxy does with each of its clients."""


@asynccontextmanager
async def forward_proxy(
    script: Script, context: ssl.SSLContext | None = None
) -> AsyncIterator[ForwardProxy]:
    """Run a proxy for the length of a block, over TLS with a *context*."""

    async def serve(stream: ByteStream) -> None:
        with suppress(*BROKEN):
            async with stream:
                await script(proxy, stream)

    listener: anyio.abc.Listener[anyio.abc.ByteStream]
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    proxy = ForwardProxy(listener.extra(SocketAttribute.local_port))
    if context is not None:
        listener = TLSListener(listener, context, standard_compatible=False)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield proxy
        tasks.cancel_scope.cancel()


async def read_head(stream: ByteStream) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await stream.receive()
    return head


async def relay(one: ByteStream, host: str, port: int) -> None:
    """Connect to *port* here, whatever *host* is, and move bytes both ways until either side ends."""
    address = "::1" if ":" in host else "127.0.0.1"

    async def pump(source: ByteStream, sink: ByteStream) -> None:
        with suppress(*BROKEN):
            async for chunk in source:
                await sink.send(chunk)
        tasks.cancel_scope.cancel()

    async with await anyio.connect_tcp(address, port) as other:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pump, one, other)
            tasks.start_soon(pump, other, one)


# HTTP


async def grant(proxy: ForwardProxy, stream: ByteStream) -> None:
    """Do what is asked."""
    await grant_with(ESTABLISHED)(proxy, stream)


def grant_with(answer: bytes, *, cut: int | None = None) -> Script:
    """Do what is asked, and say so with *answer*, cut into pieces."""

    async def script(proxy: ForwardProxy, stream: ByteStream) -> None:
        head = await read_head(stream)
        proxy.heard.append(head)
        host, _, port = head.split()[1].decode().rpartition(":")
        proxy.targets.append((host.strip("[]"), int(port)))
        await send_in_pieces(stream, answer, cut)
        await relay(stream, host, int(port))

    return script


def say(answer: bytes, *, close: bool = True, cut: int | None = None) -> Script:
    """Answer the request with *answer*, and close or wait."""

    async def script(proxy: ForwardProxy, stream: ByteStream) -> None:
        proxy.heard.append(await read_head(stream))
        await send_in_pieces(stream, answer, cut)
        if not close:
            await stream.receive()

    return script


async def send_in_pieces(stream: ByteStream, data: bytes, cut: int | None) -> None:
    for start in range(0, len(data), cut or len(data) or 1):
        await stream.send(data[start : start + (cut or len(data))])


# SOCKS

ACCEPTED_4 = b"\0\x5a" + bytes(6)
REFUSED_4 = b"\0\x5b" + bytes(6)
ACCEPTED_5 = b"\5\0\0\1" + bytes(6)


def socks_replies(*replies: bytes, cut: int | None = None, tunnel: bool = True) -> Script:
    """Answer each message of a client with the next of *replies*; after the last there is a tunnel.

    Where it leads to, is read from the last message of the client.
    """

    async def script(proxy: ForwardProxy, stream: ByteStream) -> None:
        message = b""
        for reply in replies:
            message = await stream.receive()
            proxy.heard.append(message)
            if reply is replies[-1]:
                proxy.targets.append(socks_target(message))
            await send_in_pieces(stream, reply, cut)
        if tunnel:
            await relay(stream, *proxy.targets[-1])

    return script


def socks_target(message: bytes) -> tuple[str, int]:
    """Read a request of SOCKS 4, 4a or 5."""
    if message[0] == 4:
        port = int.from_bytes(message[2:4])
        host = socket.inet_ntoa(message[4:8])
        if host.startswith("0.0.0."):
            host = message[8:].split(b"\0")[1].decode()
        return host, port
    if message[0] != 5 or len(message) < 8:
        return "", 0
    port = int.from_bytes(message[-2:])
    if message[3] == 3:
        return message[5:-2].decode(), port
    return str(ipaddress.ip_address(message[4:-2])), port


SOCKS_5: tuple[bytes, ...] = (b"\5\0", ACCEPTED_5)
"""Without authentication."""

SOCKS_5_AUTH: tuple[bytes, ...] = (b"\5\2", b"\1\0", ACCEPTED_5)


def socks_proxy(scheme: str) -> AbstractAsyncContextManager[ForwardProxy]:
    """A proxy that does what is asked."""
    replies = (ACCEPTED_4,) if scheme.startswith("socks4") else SOCKS_5
    return forward_proxy(socks_replies(*replies))
