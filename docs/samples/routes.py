"""Paths that lead to handlers, and a part of the site that not everybody may enter."""

import anyio

from anyio_ws import (
    InvalidStatus,
    Request,
    Response,
    Router,
    WebSocket,
    open_server,
    open_websocket,
)

router = Router()


@router.route("/")
async def index(ws: WebSocket) -> None:
    await ws.send("welcome")


@router.route("/rooms/{room}")
async def chat(ws: WebSocket, room: str) -> None:
    await ws.send(f"this is {room}")


@router.route("/files/{path...}")
async def follow(ws: WebSocket, path: str) -> None:
    await ws.send(f"you follow {path}")


# What is below /admin knows nothing of being there, and nothing of who may enter.
admin = Router()


@admin.route("/users/{name}")
async def watch_user(ws: WebSocket, name: str) -> None:
    await ws.send(f"{ws.username} watches {name}")


async def only_admins(ws: WebSocket, request: Request) -> Response | None:
    if request.headers.get("Authorization") != "Bearer open-sesame":
        return Response.text(401, "Who are you?\n", {"WWW-Authenticate": "Bearer"})
    ws.username = "root"
    return None


router.add("/admin/{rest...}", admin, process_request=only_admins)


async def main() -> None:
    async with open_server(router, "127.0.0.1", 0) as server:
        for path in (
            "/",
            "/rooms/caf%C3%A9?since=5",
            "/files/logs/today",
            "/rooms",
            "/admin/users/ada",
        ):
            try:
                async with open_websocket(server.url + path) as ws:
                    print(path, await ws.receive())
            except InvalidStatus as exc:
                print(path, exc.response.status_code)
        headers = {"Authorization": "Bearer open-sesame"}
        async with open_websocket(
            f"{server.url}/admin/users/ada", additional_headers=headers
        ) as ws:
            print(await ws.receive())


if __name__ == "__main__":
    anyio.run(main)
