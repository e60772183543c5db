"""A chat with rooms: each is a channel, and newcomers see what was said last."""

from collections import defaultdict

import anyio

from anyio_ws import Channel, Router, WebSocket, open_server, open_websocket

rooms: defaultdict[str, Channel] = defaultdict(lambda: Channel(keep_last=3))
app = Router()


@app.route("/rooms/{name}/{nick}")
async def chat(ws: WebSocket, name: str, nick: str) -> None:
    room = rooms[name]
    async with room.subscribe(ws, overflow="drop_oldest"):
        async for message in ws:
            assert isinstance(message, str)
            await room.publish(f"{nick}: {message}")


async def main() -> None:
    async with open_server(app, "127.0.0.1", 0) as server:
        async with (
            open_websocket(f"{server.url}/rooms/tea/ada") as ada,
            open_websocket(f"{server.url}/rooms/coffee/bob") as bob,
        ):
            await ada.send("hello")
            print("ada sees", await ada.receive())
            await bob.send("anybody here?")
            print("bob sees", await bob.receive())
            async with open_websocket(f"{server.url}/rooms/tea/eve") as eve:
                print("eve sees", await eve.receive())
                await eve.send("hello, ada")
                print("ada sees", await ada.receive())
        print(rooms["tea"].statistics().messages, "messages about tea")


if __name__ == "__main__":
    anyio.run(main)
