"""A client behind an HTTP proxy that asks for a password. The proxy here is a small one, for the sample."""

import base64

import anyio
from anyio.abc import ByteStream, SocketAttribute

from anyio_ws import ProxyError, WebSocket, open_server, open_websocket


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def ask(url: str, proxy: str) -> None:
    try:
        async with open_websocket(url, proxy=proxy) as ws:
            await ws.send("hello")
            print(await ws.receive())
    except ProxyError as exc:
        if exc.response is not None:
            print(exc.response.status_code, exc.response.body.decode())


async def main() -> None:
    async with (
        open_server(echo, "127.0.0.1", 0) as server,
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, serve_as_proxy)
        port = listener.extra(SocketAttribute.local_port)
        await ask(server.url, f"http://ada:lovelace@127.0.0.1:{port}")
        await ask(server.url, f"http://ada:wrong@127.0.0.1:{port}")
        tasks.cancel_scope.cancel()


# -- the proxy


async def serve_as_proxy(client: ByteStream) -> None:
    async with client:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await client.receive()
        if b"Basic " + base64.b64encode(b"ada:lovelace") not in head:
            await client.send(b"HTTP/1.1 407 Who?\r\nContent-Length: 12\r\n\r\nask the boss")
            return
        host, port = head.split()[1].decode().split(":")
        async with await anyio.connect_tcp(host, int(port)) as server:
            await client.send(b"HTTP/1.1 200 OK\r\n\r\n")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pump, client, server)
                await pump(server, client)


async def pump(source: ByteStream, sink: ByteStream) -> None:
    async for chunk in source:
        await sink.send(chunk)
    await sink.send_eof()


if __name__ == "__main__":
    anyio.run(main)
