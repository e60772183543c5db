"""A client that outlives its server's restarts, and a server that restarts."""

import anyio

from anyio_ws import ReconnectPolicy, WebSocket, open_server, reconnecting_websocket

chapters = ["one", "two", "three"]


async def follow(url: str, policy: ReconnectPolicy) -> None:
    async for attempt in reconnecting_websocket(url, policy=policy):
        async with attempt as ws:
            await ws.send("go on")
            async for message in ws:
                print(message)
                if message == "three":
                    return


async def tell(ws: WebSocket) -> None:
    await ws.receive()
    await ws.send(chapters.pop(0))
    await ws.aclose(1012, "back in a moment")


async def main() -> None:
    policy = ReconnectPolicy(cap=30, max_time=3600)
    async with open_server(tell, "127.0.0.1", 0) as server:
        await follow(server.url, policy.immediately())  # as in a test: nothing is waited for


if __name__ == "__main__":
    anyio.run(main)
