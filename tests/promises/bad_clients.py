"""Clients that misbehave, at every stage of a connection."""

from __future__ import annotations

import os
import socket
import ssl
import struct

import anyio
import anyio.abc
import pytest

from anyio_ws.sansio import Opcode
from anyio_ws.testing import RawFrame, handshake_request

from .links import Link

# With this, closing a TCP socket sends an RST.
NO_LINGER = struct.pack("ii", 1, 0)


class BadClient:
    """A client on a raw socket: it can stop at any stage, and reset."""

    def __init__(self, link: Link, tcp: anyio.abc.SocketStream) -> None:
        self._link = link
        self.tcp = tcp

    def hello(self) -> bytes:
        """The first bytes of TLS."""
        outgoing = ssl.MemoryBIO()
        tls = self._link.client_context.wrap_bio(
            ssl.MemoryBIO(), outgoing, server_hostname="localhost"
        )
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        return outgoing.read()

    async def through_tls(self) -> anyio.abc.ByteStream:
        return await self._link.secured_client(self.tcp)

    async def opened(self) -> anyio.abc.ByteStream:
        stream = await self.through_tls()
        await stream.send(handshake_request("/"))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await stream.receive(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        return stream

    def shut_down(self) -> None:
        """Have the kernel answer whatever comes with an RST, now and without the event loop."""
        raw = self.tcp.extra(anyio.abc.SocketAttribute.raw_socket)
        with socket.socket(fileno=os.dup(raw.fileno())) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)

    async def reset(self) -> None:
        raw = self.tcp.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        await anyio.aclose_forcefully(self.tcp)


async def resets_at_once(client: BadClient) -> None:
    await client.reset()


async def leaves_at_once(client: BadClient) -> None:
    pass


async def sends_half_of_tls(client: BadClient) -> None:
    await client.tcp.send(client.hello()[:100])


async def resets_within_tls(client: BadClient) -> None:
    await client.tcp.send(client.hello())
    await client.tcp.receive(1)  # the server is in the middle of it, or has refused it
    await client.reset()


async def sends_garbage_below_tls(client: BadClient) -> None:
    await client.tcp.send(b"\x16\x03\x01\x00\x05" + b"\xff" * 1000)


async def sends_garbage(client: BadClient) -> None:
    stream = await client.through_tls()
    await stream.send(b"\x00\xff" * 500)


async def sends_too_much(client: BadClient) -> None:
    stream = await client.through_tls()
    await stream.send(b"A" * 100_000)


async def sends_half_a_request(client: BadClient) -> None:
    stream = await client.through_tls()
    await stream.send(handshake_request("/")[:-2])


async def resets_in_the_request(client: BadClient) -> None:
    await sends_half_a_request(client)
    await client.reset()


async def posts(client: BadClient) -> None:
    stream = await client.through_tls()
    await stream.send(handshake_request("/").replace(b"GET", b"POST"))


async def leaves_after_the_upgrade(client: BadClient) -> None:
    await client.opened()


async def sends_a_trailing_byte(client: BadClient) -> None:
    stream = await client.through_tls()
    await stream.send(handshake_request("/") + b"\x81")


async def resets_after_the_upgrade(client: BadClient) -> None:
    await client.opened()
    await client.reset()


async def resets_within_a_frame(client: BadClient) -> None:
    stream = await client.opened()
    await stream.send(RawFrame(Opcode.TEXT, bytes(100)).serialize(masked=True)[:50])
    await client.reset()


async def breaks_the_protocol(client: BadClient) -> None:
    stream = await client.opened()
    await stream.send(RawFrame(0x3).serialize(masked=True))


async def sends_garbage_after_the_upgrade(client: BadClient) -> None:
    stream = await client.opened()
    await stream.send(b"\xff" * 500)


BAD_CLIENTS = [
    resets_at_once,
    leaves_at_once,
    sends_half_of_tls,
    resets_within_tls,
    sends_garbage_below_tls,
    sends_garbage,
    sends_too_much,
    sends_half_a_request,
    resets_in_the_request,
    posts,
    leaves_after_the_upgrade,
    sends_a_trailing_byte,
    resets_after_the_upgrade,
    resets_within_a_frame,
    breaks_the_protocol,
    sends_garbage_after_the_upgrade,
]
