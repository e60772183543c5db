"""A jar takes the cookie of a login page along: the page sets it, and redirects to the feed."""

from http.cookiejar import CookieJar

import anyio

from anyio_ws import Headers, Request, Response, WebSocket, open_server, open_websocket


async def login(ws: WebSocket, request: Request) -> Response | None:
    if request.path == "/login":
        headers = Headers({"Location": "/feed", "Set-Cookie": "session=5f2a; Path=/; HttpOnly"})
        return Response(303, "See Other", headers)
    if "session=5f2a" not in request.headers.get("Cookie", ""):
        return Response.text(401, "Who are you?")
    return None


async def feed(ws: WebSocket) -> None:
    await ws.send(f"{ws.request.path} for {ws.request.headers['Cookie']}")


async def main() -> None:
    jar = CookieJar()
    async with open_server(feed, "127.0.0.1", 0, process_request=login) as server:
        async with open_websocket(f"{server.url}/login", cookies=jar) as ws:
            print(ws.url == f"{server.url}/feed")
            print(await ws.receive())
        async with open_websocket(f"{server.url}/feed", cookies=jar) as ws:  # still logged in
            print(await ws.receive())
        async with open_websocket(f"{server.url}/feed", cookies={"session": "5f2a"}) as ws:
            print(await ws.receive())


if __name__ == "__main__":
    anyio.run(main)
