"""What a server can be asked about the opening handshake, and plain HTTP on its port."""

import http.client

import anyio
import anyio.to_thread

from anyio_ws import InvalidStatus, Request, Response, WebSocket, open_server, open_websocket

banned = {"/old"}


async def refuse_what_is_gone(ws: WebSocket, request: Request) -> Response | None:
    if request.path in banned:
        return Response.text(410, "That is gone.\n")
    return None  # go on


async def tell_id(ws: WebSocket, request: Request, response: Response) -> None:
    response.headers["X-Request-Id"] = str(ws.id)


async def answer_http(request: Request) -> Response:
    if request.path == "/health":
        return Response.text(200, "fine\n")
    return Response.text(404, "There are only WebSockets here.\n")


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


def get(port: int, path: str) -> str:
    """What any HTTP client gets."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path)
    response = connection.getresponse()
    text = f"{response.status} {response.read().decode().strip()}"
    connection.close()
    return text


async def main() -> None:
    async with open_server(
        echo,
        "127.0.0.1",
        0,
        process_request=refuse_what_is_gone,
        process_response=tell_id,
        handle_http=answer_http,
        additional_headers={"X-Served-By": "this sample"},
    ) as server:
        async with open_websocket(server.url) as ws:
            print(ws.response.headers["X-Served-By"], "X-Request-Id" in ws.response.headers)
        try:
            async with open_websocket(server.url + "/old"):
                pass
        except InvalidStatus as exc:
            print(exc.response.status_code, exc.response.body.decode().strip())
        for path in "/health", "/page", "/old":
            print(await anyio.to_thread.run_sync(get, server.port, path))


if __name__ == "__main__":
    anyio.run(main)
