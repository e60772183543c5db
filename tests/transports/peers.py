"""The other ends of the connections that the tests of transports make."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import anyio
import anyio.abc
import trio
from anyio.lowlevel import checkpoint
from anyio.streams.stapled import StapledByteStream
from anyio.streams.tls import TLSStream

from .recorder import PATIENCE

Result = TypeVar("Result")


class SocketByteStream(anyio.abc.ByteStream):
    """A socket with nothing between it and the test: what isn't received is in the kernel."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await checkpoint()
        while True:
            try:
                data = self.socket.recv(max_bytes)
            except BlockingIOError:
                await anyio.wait_readable(self.socket)
            except OSError as exc:
                raise anyio.BrokenResourceError from exc
            else:
                if not data:
                    raise anyio.EndOfStream
                return data

    async def send(self, item: bytes) -> None:
        await checkpoint()
        rest = memoryview(item)
        while rest:
            try:
                rest = rest[self.socket.send(rest) :]
            except BlockingIOError:
                await anyio.wait_writable(self.socket)
            except OSError as exc:
                raise anyio.BrokenResourceError from exc

    async def send_eof(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)
        await checkpoint()

    async def aclose(self) -> None:
        if self.socket.fileno() != -1:
            anyio.notify_closing(self.socket)
            self.socket.close()
        await checkpoint()


class AnyIOPeer:
    def __init__(self, stream: anyio.abc.ByteStream, reset: Callable[[], None]) -> None:
        self.stream = stream
        self.reset_stream = reset

    async def ready(self) -> None:
        pass

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def receive(self) -> bytes:
        try:
            return await self.stream.receive()
        except anyio.EndOfStream:
            return b""

    async def send_eof(self) -> None:
        await self.stream.send_eof()

    async def reset(self) -> None:
        self.reset_stream()
        await self.leave()

    async def aclose(self) -> None:
        with suppress(anyio.BrokenResourceError):  # of TLS, when the other end has gone
            await self.stream.aclose()

    async def leave(self) -> None:
        if isinstance(self.stream, StapledByteStream):
            # AnyIO doesn't close the second half when closing the first is cancelled.
            await anyio.aclose_forcefully(self.stream.receive_stream)
            await anyio.aclose_forcefully(self.stream.send_stream)
        else:
            await anyio.aclose_forcefully(self.stream)


class ProxyStream(anyio.abc.ByteStream):
    """An HTTP proxy that grants every CONNECT, and what is at the other end of the tunnel, over a stream."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self.stream = stream
        self._lock = anyio.Lock()
        self._granted = False

    async def grant(self) -> None:
        """Read the request, and answer it; the first of the other calls does that, too."""
        async with self._lock:
            if not self._granted:
                request = b""
                while not request.endswith(b"\r\n\r\n"):
                    request += await self.stream.receive()
                assert request.startswith(b"CONNECT ")
                await self.stream.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self._granted = True

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await self.grant()
        return await self.stream.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        await self.grant()
        await self.stream.send(item)

    async def send_eof(self) -> None:
        await self.grant()
        await self.stream.send_eof()

    async def aclose(self) -> None:
        await self.stream.aclose()


class ProxyPeer(AnyIOPeer):
    """What is behind a proxy, with the proxy; *opened* tells that the tunnel is there at the other end."""

    def __init__(self, below: AnyIOPeer, opened: anyio.Event) -> None:
        self._proxy = ProxyStream(below.stream)
        self._opened = opened
        super().__init__(self._proxy, below.reset_stream)

    async def ready(self) -> None:
        await self._proxy.grant()
        await self._opened.wait()

    async def aclose(self) -> None:
        await self._proxy.grant()
        await super().aclose()


class TLSPeer:
    """Speaks TLS over another peer's stream, as often as *layers* says."""

    def __init__(
        self, below: AnyIOPeer, context: ssl.SSLContext, *, server_side: bool, layers: int = 1
    ) -> None:
        self._below = below
        self._context = context
        self._server_side = server_side
        self._layers = layers
        self._lock = anyio.Lock()
        self._stream: TLSStream | None = None

    async def ready(self) -> None:
        await self._secured()

    async def _secured(self) -> TLSStream:
        async with self._lock:
            if self._stream is None:
                stream: Any = self._below.stream
                for _ in range(self._layers):
                    stream = await TLSStream.wrap(
                        stream,
                        server_side=self._server_side,
                        hostname=None if self._server_side else "localhost",
                        ssl_context=self._context,
                    )
                self._stream = stream
            assert self._stream is not None
            return self._stream

    async def send(self, data: bytes) -> None:
        await (await self._secured()).send(data)

    async def receive(self) -> bytes:
        try:
            return await (await self._secured()).receive()
        except anyio.EndOfStream:
            return b""

    async def send_eof(self) -> None:
        raise NotImplementedError("TLS can't")

    async def reset(self) -> None:
        await self._below.reset()

    async def aclose(self) -> None:
        with suppress(anyio.BrokenResourceError):  # when the other end has gone
            await (await self._secured()).aclose()

    async def leave(self) -> None:
        await self._below.leave()


class HandTLS:
    """TLS by hand over another peer. AnyIO's doesn't send its alerts, nor let one see the records."""

    def __init__(self, below: AnyIOPeer, context: ssl.SSLContext, *, server_side: bool) -> None:
        self.below = below
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        hostname = None if server_side else "localhost"
        self.object = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server_side, server_hostname=hostname
        )

    async def shake_hands(self) -> None:
        await self._do(self.object.do_handshake)

    async def send(self, data: bytes) -> None:
        self.object.write(data)
        await self.flush()

    async def receive(self) -> bytes:
        try:
            return await self._do(lambda: self.object.read(65536))
        except ssl.SSLZeroReturnError:
            return b""

    async def say_goodbye(self) -> None:
        with suppress(ssl.SSLError):  # that there is none from the other end yet
            self.object.unwrap()
        await self.flush()

    async def flush(self) -> None:
        if self.outgoing.pending:
            await self.below.send(self.outgoing.read())

    async def feed(self) -> None:
        data = await self.below.receive()
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    async def _do(self, call: Callable[[], Result]) -> Result:
        with anyio.fail_after(PATIENCE):
            while True:
                try:
                    result = call()
                except ssl.SSLWantReadError:
                    await self.flush()
                    await self.feed()
                except ssl.SSLError:
                    await self.flush()
                    raise
                else:
                    await self.flush()
                    return result


class TrioPeer:
    def __init__(self, stream: trio.abc.Stream, reset: Callable[[], None] | None = None) -> None:
        self.stream = stream
        self._reset = reset

    async def ready(self) -> None:
        pass

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def receive(self) -> bytes:
        return bytes(await self.stream.receive_some())

    async def send_eof(self) -> None:
        assert isinstance(self.stream, trio.abc.HalfCloseableStream)
        await self.stream.send_eof()

    async def reset(self) -> None:
        assert self._reset is not None
        self._reset()
        await self.leave()

    async def aclose(self) -> None:
        await self.stream.aclose()

    async def leave(self) -> None:
        await trio.aclose_forcefully(self.stream)


def reset_at_close(sock: Any) -> None:
    """Make closing this socket, a TCP one, break the connection."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def take_little(sock: Any) -> None:
    """Keep the kernel from growing its buffers, and from waiting for more before it sends."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**17)
