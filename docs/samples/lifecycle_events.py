"""Everything that happens to a connection, and to the next one, as events."""

import anyio

from anyio_ws import ReconnectPolicy, WebSocket, open_server, websocket_events
from anyio_ws.events import BackOff, Closing, ConnectFail, Connecting, Disconnected, Ready, Text


async def follow(url: str, policy: ReconnectPolicy) -> None:
    async with websocket_events(url, reconnect=policy) as events:
        async for event in events:
            match event:
                case Connecting():
                    print("connecting")
                case ConnectFail(error):
                    print("no connection:", error)
                case Ready():
                    await events.websocket.send("hello")
                case Text("bye"):
                    break  # leaving the block closes the connection
                case Text(data):
                    print("received", data)
                case Closing(code, reason):
                    print("the server closes:", code, reason)
                case Disconnected(graceful):
                    print("in order" if graceful else "broken")
                case BackOff(delay):
                    print(f"again in {delay:g} seconds")
                case _:
                    pass


async def main() -> None:
    words = ["bye", "hello"]

    async def talk(ws: WebSocket) -> None:
        await ws.receive()
        await ws.send(words.pop())
        await ws.aclose(1012, "restarting")

    async with open_server(talk, "127.0.0.1", 0) as server:
        await follow(server.url, ReconnectPolicy().immediately())


if __name__ == "__main__":
    anyio.run(main)
