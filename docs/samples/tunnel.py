"""TCP through WebSockets: a program on this side talks to a service on the other."""

import socket
import struct
from functools import partial

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream

from anyio_ws import InvalidHandshake, WebSocket, byte_stream, open_server, open_websocket

RESET = struct.pack("ii", 1, 0)
END = struct.pack("ii", 0, 0)


def closing(tcp: SocketStream, means: bytes) -> None:
    """Let closing *tcp* be a reset, which the other program can't take for an end, or an end."""
    raw_socket = tcp.extra(SocketAttribute.raw_socket)
    raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, means)


async def copy(source: ByteStream, target: ByteStream) -> None:
    """Carry one direction, its end included."""
    async for chunk in source:
        await target.send(chunk)
    await target.send_eof()


async def carry(tcp: SocketStream, ws: WebSocket) -> None:
    """Carry both directions until both have ended. What breaks on one side breaks on the other."""
    stream = byte_stream(ws, half_close=True)
    try:
        async with anyio.create_task_group() as tg:
            tg.start_soon(copy, tcp, stream)
            tg.start_soon(copy, stream, tcp)
        closing(tcp, END)
    except* anyio.BrokenResourceError:
        await ws.aclose(1011, "the connection broke")


async def way_out(port: int, ws: WebSocket) -> None:
    """The server's side: each WebSocket gets a connection to the service."""
    try:
        tcp = await anyio.connect_tcp("127.0.0.1", port)
    except OSError:
        await ws.aclose(1013, "the service can't be reached")
    else:
        async with tcp:
            closing(tcp, RESET)
            await carry(tcp, ws)


async def way_in(url: str, tcp: SocketStream) -> None:
    """The client's side: each connection of a program gets a WebSocket."""
    async with tcp:
        closing(tcp, RESET)
        try:
            async with open_websocket(url) as ws:
                await carry(tcp, ws)
        except (OSError, InvalidHandshake) as exc:
            print("no tunnel:", exc)


async def shout(tcp: SocketStream) -> None:
    """A service that answers when it has heard everything."""
    async with tcp:
        heard = b"".join([chunk async for chunk in tcp])
        await tcp.send(heard.upper())


async def main() -> None:
    service = await anyio.create_tcp_listener(local_host="127.0.0.1")
    entrance = await anyio.create_tcp_listener(local_host="127.0.0.1")
    service_port = service.extra(SocketAttribute.local_port)
    entrance_port = entrance.extra(SocketAttribute.local_port)
    async with (
        service,
        entrance,
        open_server(partial(way_out, service_port), "127.0.0.1", 0) as server,
        anyio.create_task_group() as tg,
    ):
        tg.start_soon(service.serve, shout)
        tg.start_soon(entrance.serve, partial(way_in, server.url))
        async with await anyio.connect_tcp("127.0.0.1", entrance_port) as tcp:
            await tcp.send(b"is anybody ")
            await tcp.send(b"there?")
            await tcp.send_eof()
            print(b"".join([chunk async for chunk in tcp]).decode())
        tg.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main)
