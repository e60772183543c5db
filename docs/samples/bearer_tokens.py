"""Bearer tokens: in a header, or out of a browser as one of the subprotocols that it offers."""

from __future__ import annotations

import hashlib

import anyio

from anyio_ws import InvalidStatus, Request, Response, WebSocket, open_server, open_websocket

# Yours may be in a database, or signed and checked without one. Digests as keys: looking one up takes a time
# that tells nothing about the tokens.
users = {hashlib.sha256(b"5e1f-4c09-a7d2").digest(): "ada"}


async def user_of(token: str) -> str | None:
    return users.get(hashlib.sha256(token.encode()).digest())


def bearer_token(request: Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    for offered in request.headers.get("Sec-WebSocket-Protocol", "").split(","):
        if offered.strip().startswith("bearer."):
            return offered.strip().removeprefix("bearer.")
    return ""


async def authenticate(ws: WebSocket, request: Request) -> Response | None:
    ws.username = await user_of(bearer_token(request))
    if ws.username is None:
        return Response.text(401, "A valid token is needed.\n", {"WWW-Authenticate": "Bearer"})
    return None


async def greet(ws: WebSocket) -> None:
    await ws.send(f"hello {ws.username}, let us {ws.subprotocol}")


async def main() -> None:
    token = "5e1f-4c09-a7d2"
    async with open_server(
        greet, "127.0.0.1", 0, process_request=authenticate, subprotocols=["chat"]
    ) as server:
        header = {"Authorization": f"Bearer {token}"}
        async with open_websocket(
            server.url, subprotocols=["chat"], additional_headers=header
        ) as ws:
            print(await ws.receive())
        async with open_websocket(server.url, subprotocols=["chat", f"bearer.{token}"]) as ws:
            print(await ws.receive())
        try:
            async with open_websocket(server.url, subprotocols=["chat", "bearer.wrong"]):
                pass
        except InvalidStatus as exc:
            print(exc)


if __name__ == "__main__":
    anyio.run(main)
