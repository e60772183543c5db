"""A client that trusts an authority of its own, and what it says about a certificate for another host."""

import ssl
import tempfile

import anyio
import trustme

from anyio_ws import ConnectError, WebSocket, open_server, open_websocket


async def greet(ws: WebSocket) -> None:
    await ws.send("hello")


async def main() -> None:
    ca = trustme.CA()  # yours has an administrator
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("feed.internal").configure_cert(serving)
    with tempfile.TemporaryDirectory() as directory:
        ca.cert_pem.write_to_path(f"{directory}/authority.pem")
        trusting = ssl.create_default_context(cafile=f"{directory}/authority.pem")

    async with open_server(greet, "127.0.0.1", 0, ssl=serving) as server:
        async with open_websocket(server.url, ssl=trusting, server_hostname="feed.internal") as ws:
            print(await ws.receive())
        try:
            async with open_websocket(server.url, ssl=trusting):
                pass
        except ConnectError as exc:
            print(str(exc).partition("failed: ")[2])


if __name__ == "__main__":
    anyio.run(main)
