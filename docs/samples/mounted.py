"""WebSockets on connections that somebody else accepts."""

import anyio
from anyio.abc import SocketAttribute

from anyio_ws import WebSocket, endpoint, open_websocket


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    serve_stream = endpoint(echo, max_size=2**16)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with listener, anyio.create_task_group() as tg:
        tg.start_soon(listener.serve, serve_stream)  # or trio.serve_listeners(serve_stream, [...])
        port = listener.extra(SocketAttribute.local_port)
        async with open_websocket(f"ws://127.0.0.1:{port}") as ws:
            await ws.send("hello")
            print(await ws.receive(), len(serve_stream.connections))
        await serve_stream.shutdown(grace=5)
        tg.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main)
