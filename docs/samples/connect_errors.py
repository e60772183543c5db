"""What keeps a connection from being opened, and what the error holds."""

import socket

import anyio

from anyio_ws import (
    ConnectError,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    Request,
    Response,
    WebSocket,
    open_server,
    open_websocket,
)


async def attempt(url: str, *, open_timeout: float = 10) -> None:
    try:
        async with open_websocket(url, open_timeout=open_timeout) as ws:
            print(await ws.receive())
    except InvalidURI as exc:
        print("no URL:", exc.reason)
    except ConnectError as exc:
        print("no connection:", exc.__cause__.__class__.__name__)
    except InvalidStatus as exc:
        print("refused:", exc.response.status_code, exc.response.body)
    except InvalidHandshake as exc:
        print("no WebSocket server:", exc)
    except TimeoutError:
        print("too late")


async def answer(ws: WebSocket, request: Request) -> Response | None:
    if request.path == "/slow":
        await anyio.sleep(10)
    return Response.text(403, "not for you") if request.path == "/secret" else None


async def greet(ws: WebSocket) -> None:
    await ws.send("hello")


async def main() -> None:
    await attempt("ws://user:pass@word@example.org:80x/")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/"
    await attempt(url)
    async with open_server(greet, "127.0.0.1", 0, process_request=answer) as server:
        await attempt(f"{server.url}/secret")
        await attempt(f"{server.url}/slow", open_timeout=0.1)
        await attempt(f"{server.url}/")


if __name__ == "__main__":
    anyio.run(main)
