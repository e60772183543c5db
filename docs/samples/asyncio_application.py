"""In an asyncio application: its own tasks, queues and time limits, and nothing of AnyIO's."""

import asyncio

from anyio_ws import WebSocket, open_server, open_websocket


async def count(ws: WebSocket) -> None:
    for number in range(1_000_000):
        await ws.send(str(number))


class Feed:
    """What an application starts and stops, from wherever: the block is in a task of its own."""

    def __init__(self, url: str) -> None:
        self.messages: asyncio.Queue[str | bytes] = asyncio.Queue(maxsize=100)
        self._url = url
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        async with open_websocket(self._url) as ws:
            async for message in ws:
                await self.messages.put(message)


async def main() -> None:
    async with open_server(count, "127.0.0.1", 0) as server:
        feed = Feed(server.url)
        feed.start()
        print(await asyncio.wait_for(feed.messages.get(), 5))
        async with asyncio.timeout(5):
            print(await feed.messages.get())
        await feed.stop()
    print("stopped")


if __name__ == "__main__":
    asyncio.run(main())
