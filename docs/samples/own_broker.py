"""Channels of several processes, by a broker: here over a queue, elsewhere over a network."""

from types import TracebackType
from typing import Self

import anyio

from anyio_ws import Broker, Channel, Deliver, MemoryBroker, WebSocket, open_server, open_websocket

Published = tuple[str, str | bytes, str | None]


class QueueBroker(Broker):
    """What it runs, it runs where it was opened, and nowhere else."""

    def __init__(self) -> None:
        self._local = MemoryBroker()  # who has subscribed in this process
        self._send, self._receive = anyio.create_memory_object_stream[Published](100)

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._run)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._send.close()
        return await self._tasks.__aexit__(exc_type, exc, traceback)

    async def _run(self) -> None:
        async with self._receive:
            async for topic, message, key in self._receive:
                await self._local.publish(topic, message, key)

    async def publish(self, topic: str, message: str | bytes, key: str | None) -> None:
        await self._send.send((topic, message, key))

    async def subscribe(self, topic: str, deliver: Deliver) -> None:
        await self._local.subscribe(topic, deliver)

    def unsubscribe(self, topic: str, deliver: Deliver) -> None:
        self._local.unsubscribe(topic, deliver)


async def main() -> None:
    async with QueueBroker() as broker:
        news = Channel("news", broker=broker)

        async def follow(ws: WebSocket) -> None:
            async with news.subscribe(ws):
                await ws.send("following")
                await ws.wait_closed()

        async with open_server(follow, "127.0.0.1", 0) as server:
            async with open_websocket(server.url) as ws:
                print(await ws.receive())
                await Channel("news", broker=broker).publish("from somewhere else")
                print(await ws.receive())


if __name__ == "__main__":
    anyio.run(main)
