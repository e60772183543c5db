"""Clients that show a certificate, and a server that asks for one and reads who it is."""

import ssl
from typing import Any

import anyio
import trustme
from anyio.streams.tls import TLSAttribute

from anyio_ws import ConnectError, WebSocket, open_server, open_websocket


def common_name(certificate: dict[str, Any]) -> str:
    """Of a certificate as `ssl.SSLSocket.getpeercert` gives it."""
    subject = [pair for part in certificate["subject"] for pair in part]
    return str(next(value for name, value in subject if name == "commonName"))


async def greet(ws: WebSocket) -> None:
    certificate: Any = ws.extra(TLSAttribute.peer_certificate)
    await ws.send(f"hello {common_name(certificate)}")


async def main() -> None:
    ca = trustme.CA()  # yours has an administrator
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(serving)
    ca.configure_trust(serving)  # load_verify_locations(cafile=...)
    serving.verify_mode = ssl.CERT_REQUIRED

    ada = ssl.create_default_context()
    ca.configure_trust(ada)
    ca.issue_cert("ada@example.org", common_name="ada").configure_cert(ada)  # load_cert_chain
    nobody = ssl.create_default_context()
    ca.configure_trust(nobody)

    async with open_server(greet, "127.0.0.1", 0, ssl=serving) as server:
        async with open_websocket(server.url, ssl=ada) as ws:
            print(await ws.receive())
        try:
            async with open_websocket(server.url, ssl=nobody) as ws:
                print(await ws.receive())
        except ConnectError:
            print("nobody is turned away")


if __name__ == "__main__":
    anyio.run(main)
