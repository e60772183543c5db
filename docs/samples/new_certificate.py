"""A certificate that is replaced while the server runs: connections stay, new ones see the new one."""

import ssl
from typing import Any

import anyio
import trustme
from anyio.streams.tls import TLSAttribute

from anyio_ws import WebSocket, open_server, open_websocket


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


def serial_number(ws: WebSocket) -> str:
    certificate: Any = ws.extra(TLSAttribute.peer_certificate)
    return str(certificate["serialNumber"])


async def main() -> None:
    ca = trustme.CA()
    trusting = ssl.create_default_context()
    ca.configure_trust(trusting)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)  # load_cert_chain("chain.pem", "key.pem")

    async with open_server(echo, "127.0.0.1", 0, ssl=context) as server:
        async with open_websocket(server.url, ssl=trusting) as old:
            ca.issue_cert("127.0.0.1").configure_cert(context)  # the same call again
            async with open_websocket(server.url, ssl=trusting) as new:
                print("replaced:", serial_number(old) != serial_number(new))
            await old.send("still here")
            print(await old.receive())


if __name__ == "__main__":
    anyio.run(main)
