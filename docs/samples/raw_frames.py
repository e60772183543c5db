"""A client that breaks the protocol, to see what a server does about it."""

import anyio

from anyio_ws import ConnectionClosedError, WebSocket, open_server, open_websocket
from anyio_ws.sansio import Frame, Opcode


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        for frame in (
            Frame(Opcode(0x3), b"a reserved opcode"),
            Frame(Opcode.PING, bytes(126)),
            Frame(Opcode.TEXT, b"\xff"),
        ):
            async with open_websocket(server.url) as ws:
                await ws.lowlevel.send_frame(frame)
                try:
                    await ws.receive()
                except ConnectionClosedError as exc:
                    print(exc.rcvd)


if __name__ == "__main__":
    anyio.run(main)
