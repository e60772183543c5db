"""A server for wss:// URLs, with a certificate that is made for this sample."""

import ssl
import tempfile

import anyio
import trustme

from anyio_ws import WebSocket, open_server, open_websocket


async def tell(ws: WebSocket) -> None:
    await ws.send(f"you used {ws.request.headers['Host'].partition(':')[0]}")


async def serve_and_ask(certificate: str, key: str, authority: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with open_server(tell, "127.0.0.1", 0, ssl=context) as server:
        print(server.url.partition(":")[0])
        trusting = ssl.create_default_context(cafile=authority)
        async with open_websocket(server.url, ssl=trusting) as ws:
            print(await ws.receive())


async def main() -> None:
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1")
    with tempfile.TemporaryDirectory() as directory:
        ca.cert_pem.write_to_path(f"{directory}/ca.pem")
        issued.cert_chain_pems[0].write_to_path(f"{directory}/cert.pem")
        issued.private_key_pem.write_to_path(f"{directory}/key.pem")
        await serve_and_ask(f"{directory}/cert.pem", f"{directory}/key.pem", f"{directory}/ca.pem")


if __name__ == "__main__":
    anyio.run(main)
