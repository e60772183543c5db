"""A policy of one's own: a function, here one that knows better about two cases."""

import anyio

from anyio_ws import (
    ConnectionClosed,
    InvalidStatus,
    ReconnectFailure,
    ReconnectPolicy,
    Request,
    Response,
    WebSocket,
    open_server,
    reconnecting_websocket,
)

usual = ReconnectPolicy(max_attempts=20)


def decide(failure: ReconnectFailure) -> float | None:
    match failure.error:
        case InvalidStatus(response=Response(status_code=404)) if failure.failures < 5:
            return 0.01  # the room may be opened in a moment
        case ConnectionClosed(rcvd=close) if close is not None and close.code == 4001:
            print("logged in elsewhere:", close.reason)
            return None
        case _:
            return usual(failure)


async def room(ws: WebSocket) -> None:
    await ws.send("welcome")
    await ws.aclose(4001, "in another tab")


async def main() -> None:
    answers = [404, 404]

    async def not_yet(ws: WebSocket, request: Request) -> Response | None:
        return Response.text(answers.pop(), "not yet\n") if answers else None

    async with open_server(room, "127.0.0.1", 0, process_request=not_yet) as server:
        try:
            async for attempt in reconnecting_websocket(server.url, policy=decide):
                async with attempt as ws:
                    async for message in ws:
                        print(message, "after", attempt.failures)
        except ConnectionClosed as exc:
            print("given up:", exc.rcvd)


if __name__ == "__main__":
    anyio.run(main)
