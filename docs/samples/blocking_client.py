"""A client on a blocking socket, without any event loop: the protocol decides, this moves bytes."""

import socket
from types import TracebackType

import anyio
import anyio.to_thread

from anyio_ws import WebSocket, open_server
from anyio_ws.sansio import (
    ClientPerMessageDeflateFactory,
    ClientProtocol,
    Frame,
    Opcode,
    Response,
    State,
    parse_uri,
)


class BlockingClient:
    def __init__(self, url: str, timeout: float = 10) -> None:
        uri = parse_uri(url)
        self._protocol = ClientProtocol(uri, extensions=[ClientPerMessageDeflateFactory()])
        self._socket = socket.create_connection((uri.host, uri.port), timeout)
        self._frames: list[Frame] = []
        self._protocol.send_request(self._protocol.connect())
        self._flush()
        while self._protocol.state is State.CONNECTING:
            self._read()
            if self._protocol.handshake_exc is not None:
                self._socket.close()
                raise self._protocol.handshake_exc

    def send(self, text: str) -> None:
        self._protocol.send_text(text.encode())
        self._flush()

    def receive(self) -> str | bytes:
        """Return the next message; raise `TimeoutError`, or why the connection ended."""
        parts: list[Frame] = []
        while True:
            while not self._frames:
                if self._protocol.state is State.CLOSED:
                    raise self._protocol.close_exc
                self._read()
            frame = self._frames.pop(0)
            if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                continue  # was answered, or changed the state
            parts.append(frame)
            if frame.fin:
                data = b"".join(part.data for part in parts)
                return data.decode() if parts[0].opcode is Opcode.TEXT else data

    def close(self) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
            self._flush()
        try:
            while self._protocol.state is not State.CLOSED:
                self._read()
        except TimeoutError:
            pass  # the other side had its time
        self._socket.close()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._socket.sendall(data)
            else:
                self._socket.shutdown(socket.SHUT_WR)

    def _read(self) -> None:
        data = self._socket.recv(65536)
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        self._flush()  # a pong, or the answer to a Close frame
        for event in self._protocol.events_received():
            if not isinstance(event, Response):
                assert isinstance(event, Frame)
                self._frames.append(event)

    def __enter__(self) -> "BlockingClient":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def talk(url: str) -> None:
    with BlockingClient(url) as ws:
        ws.send("hello " * 100)
        print(len(ws.receive()))
        ws.send("bye")
        print(ws.receive())


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send([message[:10], message[10:]] if isinstance(message, str) else message)


async def main() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        await anyio.to_thread.run_sync(talk, server.url)


if __name__ == "__main__":
    anyio.run(main)
