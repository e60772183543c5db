"""TLS inside a WebSocket: who carries it, a proxy say, sees that there is something, and not what."""

import ssl

import anyio
import trustme
from anyio.streams.tls import TLSStream

from anyio_ws import WebSocket, byte_stream, open_server, open_websocket

authority = trustme.CA()


async def whisper(ws: WebSocket) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("vault.internal").configure_cert(context)
    async with byte_stream(ws) as stream:
        tls = await TLSStream.wrap(stream, server_side=True, ssl_context=context)
        name = await tls.receive()
        await tls.send(b"the secret of " + name)
        await tls.aclose()


async def main() -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with (
        open_server(whisper, "127.0.0.1", 0) as server,
        open_websocket(server.url) as ws,
        byte_stream(ws) as stream,
    ):
        tls = await TLSStream.wrap(stream, hostname="vault.internal", ssl_context=context)
        await tls.send(b"ada")
        print(b"".join([chunk async for chunk in tls]).decode())
        await tls.aclose()


if __name__ == "__main__":
    anyio.run(main)
