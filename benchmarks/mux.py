"""What does a message cost that comes by one of many connections, merged into one stream?

A server that sends every message back, where one task receives from all connections by `anyio_ws.mux`.
There are as many messages on their way whatever the number of connections, and each comes by the next
connection, so that only that number differs. ``websockets`` has nothing like it: a task for each
connection, and a queue.
The same load with a handler for each connection is in growth.py.
"""

from __future__ import annotations

import wire
from harness import Bench, Candidate, Question
from results import CPU, RATE, Load, Sample
from servers import ALL_LOOPS, BOTH_ASYNCIO
from subject import HOST, MAX_SIZE, Options, Subject, announce

# -- the servers


async def serve_mux(options: Options) -> None:
    import anyio

    from anyio_ws import WebSocket, mux, open_server

    members: list[WebSocket] = []
    complete = anyio.Event()

    async def join(ws: WebSocket) -> None:
        members.append(ws)
        if len(members) == options.connections:
            complete.set()
        await ws.wait_closed()

    async with open_server(
        join, HOST, 0, max_size=MAX_SIZE, ping_interval=None, compression=None
    ) as server:
        announce(server.port)
        await complete.wait()
        async with mux(*members) as merged:
            async for ws, message in merged:
                await ws.send(message)


async def serve_queue_asyncio(options: Options) -> None:
    import asyncio

    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosedError

    queue: asyncio.Queue[tuple[ServerConnection, str | bytes]] = asyncio.Queue(64)

    async def join(ws: ServerConnection) -> None:
        try:
            async for message in ws:
                await queue.put((ws, message))
        except ConnectionClosedError:
            pass

    async with serve(join, HOST, 0, compression=None, ping_interval=None) as server:
        announce(next(iter(server.sockets)).getsockname()[1])
        while True:
            ws, message = await queue.get()
            await ws.send(message)


async def serve_queue_trio(options: Options) -> None:
    from functools import partial

    import trio
    from websockets.exceptions import ConnectionClosedError
    from websockets.trio.server import ServerConnection, serve

    put, get = trio.open_memory_channel[tuple[ServerConnection, str | bytes]](64)

    async def join(ws: ServerConnection) -> None:
        try:
            async for message in ws:
                await put.send((ws, message))
        except ConnectionClosedError:
            pass

    start = partial(serve, join, 0, host=HOST, compression=None, ping_interval=None)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(start)
        announce(server.listeners[0].socket.getsockname()[1])
        async for ws, message in get:
            await ws.send(message)


SUBJECTS = [
    *(Subject("anyio_ws", loop, serve_mux, ("anyio_ws",)) for loop in ALL_LOOPS),
    *(
        Subject("websockets", loop, serve_queue_asyncio, ("websockets.asyncio",))
        for loop in BOTH_ASYNCIO
    ),
    Subject("websockets", "trio", serve_queue_trio, ("websockets.trio",)),
]


# -- what measures them


def measure(bench: Bench, load: Load, candidate: Candidate) -> Sample:
    with bench.subject(candidate, Options(connections=load.connections)) as process:
        port = int(process.read_line())
        sample = bench.exchange(process, load, wire.echo(load.size), port)
        process.end()
    return sample


QUESTION = Question(
    name="mux",
    title="What does a message cost that comes by one of many connections?",
    metrics=(CPU, RATE),
    loads=[
        Load(f"{count} merged", mode="rove", connections=count, depth=10, axis="connections")
        for count in (10, 100, 1_000, 5_000)
    ],
    subjects=SUBJECTS,
    module="mux",
    measure=measure,
    quick_loads=("10 merged", "100 merged", "1000 merged"),
)
