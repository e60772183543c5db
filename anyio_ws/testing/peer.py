"""The other end of a connection, spoken by hand, well or badly.

What it does, it does when it is told to, and nothing by itself: it answers no Ping and no Close.
"""

from __future__ import annotations

import socket
import struct
import sys

import anyio
import anyio.abc
from anyio.lowlevel import checkpoint

from ..sansio import Side
from .streams import MemoryByteStream
from .wire import RawFrame, handshake_request, handshake_response, header_value

__all__ = ["ScriptedPeer"]

# With this, closing a TCP socket sends an RST.
_NO_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class ScriptedPeer(anyio.abc.AsyncResource):
    """A peer that does exactly what a test says. Leaving it as a context manager closes *stream*.

    ::

        ours, theirs = memory_stream_pair()

        async def script():
            async with ScriptedPeer(theirs, Side.SERVER) as peer:
                await peer.accept()
                assert await peer.receive() == RawFrame(Opcode.TEXT, b"hello")
                await peer.send(RawFrame(0x3))          # a reserved opcode

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(script)
            async with open_websocket("ws://localhost/", stream=ours) as ws:
                await ws.send("hello")

    What the stream raises comes out as it is, everywhere. One task may send while another receives.
    """

    def __init__(
        self,
        stream: anyio.abc.ByteStream,
        side: Side,
        *,
        cut: int | None = None,
        delay: float = 0,
    ) -> None:
        self.stream = stream
        self.side = side
        """The side that it plays; it decides what :meth:`send` masks and :meth:`receive` demands."""
        self.cut = cut
        """The most bytes that it sends at once, 1 cuts at every byte; None: all of them. The pieces
        arrive as pieces where the stream keeps them apart: in memory with ``buffer=0``, or given
        a `delay`."""
        self.delay = delay
        """Seconds between two pieces."""
        self._received = bytearray()

    # -- the opening handshake

    async def connect(
        self, target: str = "/", *headers: tuple[str, str], host: str = "localhost"
    ) -> bytes:
        """Open the connection as a client, with :func:`handshake_request`. Return the response.

        What follows the response is kept for the next call. Cancelled, it can't be repeated.

        :raises AssertionError: the response doesn't accept the connection
        :raises EndOfStream: the server closed the connection without having answered
        """
        request = handshake_request(target, *headers, host=host)
        await self.send(request)
        response = await self.receive_head()
        expected = header_value(handshake_response(request), "Sec-WebSocket-Accept")
        if (
            not response.startswith(b"HTTP/1.1 101 ")
            or header_value(response, "Sec-WebSocket-Accept") != expected
        ):
            raise AssertionError(f"not accepted: {response!r}")
        return response

    async def accept(self, *headers: tuple[str, str]) -> bytes:
        """Accept a connection as a server, with :func:`handshake_response`. Return the request.

        What follows the request is kept for the next call. Cancelled, it can't be repeated.

        :raises AssertionError: the request has no key
        :raises EndOfStream: the client closed the connection before it had sent a request
        """
        request = await self.receive_head()
        await self.send(handshake_response(request, *headers))
        return request

    async def receive_head(self) -> bytes:
        """Receive an HTTP request or response, up to and including the empty line.

        Cancelling loses nothing.

        :raises EndOfStream: the stream ended before; :meth:`receive_rest` returns what there was
        """
        await checkpoint()
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            await self._receive_more()
        return self._take(end + 4)

    # -- frames

    async def send(self, *items: RawFrame | bytes) -> None:
        """Send frames, and bytes as they are, in one go or cut into pieces.

        Cancelled, a part of it may be sent. A frame is masked if :attr:`side` must, or as it says.

        :raises ValueError: :attr:`cut` is less than 1
        """
        masked = self.side is Side.CLIENT
        data = b"".join(
            item.serialize(masked=masked) if isinstance(item, RawFrame) else item for item in items
        )
        size = len(data) if self.cut is None else self.cut
        if size < 1 and data:
            raise ValueError("cut must be at least 1")
        for start in range(0, len(data), size) if data else [0]:
            if start and self.delay:
                await anyio.sleep(self.delay)
            await self.stream.send(data[start : start + size])

    async def receive(self) -> RawFrame:
        """Receive a frame. Cancelling loses nothing.

        :raises AssertionError: the frame is masked and must not be, or is not and must be
        :raises EndOfStream: the stream ended, maybe within a frame: :meth:`receive_rest` returns
            what there was of it
        """
        await checkpoint()
        masked = self.side is Side.SERVER
        while (parsed := RawFrame.parse(self._received, masked=masked)) is None:
            await self._receive_more()
        frame, size = parsed
        self._take(size)
        return frame

    async def receive_rest(self) -> bytes:
        """Receive the bytes of everything up to the end of the stream. Cancelling loses nothing."""
        await checkpoint()
        try:
            while True:
                await self._receive_more()
        except anyio.EndOfStream:
            return self._take(len(self._received))

    async def stay_silent(self) -> None:
        """Stay connected, but neither read nor answer, until cancelled."""
        await anyio.sleep_forever()

    # -- the end

    async def send_eof(self) -> None:
        """End this direction, without a Close frame. Receiving goes on. Cancelled means not sent."""
        await self.stream.send_eof()

    async def aclose(self) -> None:
        """Drop the connection, without a Close frame. Cancelling doesn't prevent it.

        The other side gets what was sent, then the end of the stream.
        """
        await self.stream.aclose()

    async def reset(self) -> None:
        """Break the connection, as a TCP RST does. Cancelling doesn't prevent it.

        What is on its way is dropped, and what the other side does fails.

        :raises TypedAttributeLookupError: the stream is neither one of :func:`memory_stream_pair`
            nor based on a socket
        """
        if isinstance(self.stream, MemoryByteStream):
            self.stream.reset()
        else:
            raw_socket = self.stream.extra(anyio.abc.SocketAttribute.raw_socket)
            raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            await anyio.aclose_forcefully(self.stream)
        await checkpoint()

    # -- what was received and not yet taken

    async def _receive_more(self) -> None:
        data = await self.stream.receive()
        self._received += data

    def _take(self, size: int) -> bytes:
        data = bytes(self._received[:size])
        del self._received[:size]
        return data
