"""How fast is the same message sent to many connections?

Each server waits until all have connected, and then sends to all, round after round. ``anyio_ws`` and
``websockets`` have ``broadcast``, which waits for nobody but on ``websockets``' trio, and ``picows`` has a
``send`` that doesn't either. ``aiohttp`` and ``trio-websocket`` have nothing of the kind: a plain loop that
awaits each ``send``, which is what a user would write. ``bare-socket`` is a Python loop of ``send`` on
sockets, of a finished frame, without an event loop.
"""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING, Literal

import wire
from harness import Bench, Candidate, Question
from processes import count
from results import Load, Metric, Sample
from servers import ALL_LOOPS, BOTH_ASYNCIO, serve_with_aiohttp
from subject import HOST, Options, Subject, announce

if TYPE_CHECKING:
    from aiohttp import web

# -- the servers


def stall(port: int, options: Options) -> list[socket.socket]:
    """Open connections that never read; the kernel takes their handshakes before anybody looks."""
    clients: list[socket.socket] = []
    for _ in range(options.stalled):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
        client.connect((HOST, port))
        client.sendall(wire.request(wire.DEFLATE if options.compress else ""))
        clients.append(client)
    return clients


async def fan_out_anyio_ws(options: Options) -> None:
    import anyio
    import anyio.lowlevel

    from anyio_ws import WebSocket, broadcast, open_server

    members: list[WebSocket] = []
    complete = anyio.Event()
    data = wire.payload(options.size)
    compression: Literal["deflate"] | None = "deflate" if options.compress else None

    async def join(ws: WebSocket) -> None:
        members.append(ws)
        if len(members) == options.connections + options.stalled:
            complete.set()
        await ws.wait_closed()

    async with open_server(join, HOST, 0, ping_interval=None, compression=compression) as server:
        announce(server.port)
        kept = stall(server.port, options)
        await complete.wait()
        while kept is not None:
            broadcast(members, data, overflow="drop_oldest" if options.stalled else "disconnect")
            await anyio.lowlevel.checkpoint()


async def fan_out_websockets_asyncio(options: Options) -> None:
    import asyncio

    from websockets.asyncio.server import ServerConnection, broadcast, serve

    members: set[ServerConnection] = set()
    complete = asyncio.Event()
    data = wire.payload(options.size)
    compression = "deflate" if options.compress else None

    async def join(ws: ServerConnection) -> None:
        members.add(ws)
        if len(members) == options.connections + options.stalled:
            complete.set()
        await ws.wait_closed()

    async with serve(join, HOST, 0, compression=compression, ping_interval=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        announce(port)
        kept = stall(port, options)
        await complete.wait()
        while kept is not None:
            broadcast(members, data)
            await asyncio.sleep(0)


async def fan_out_websockets_trio(options: Options) -> None:
    import trio
    from websockets.trio.server import ServerConnection, broadcast, serve

    members: set[ServerConnection] = set()
    complete = trio.Event()
    data = wire.payload(options.size)

    async def join(ws: ServerConnection) -> None:
        members.add(ws)
        if len(members) == options.connections:
            complete.set()
        await ws.wait_closed()

    start = partial(serve, join, 0, host=HOST, compression=None, ping_interval=None)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(start)
        announce(server.listeners[0].socket.getsockname()[1])
        await complete.wait()
        while True:
            await broadcast(members, data)


async def fan_out_aiohttp(options: Options) -> None:
    import asyncio

    from aiohttp import web

    members: list[web.WebSocketResponse] = []
    data = wire.payload(options.size)

    async def join(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        members.append(ws)
        if len(members) == options.connections:
            sending.append(asyncio.create_task(send_to_all()))
        await ws.receive()
        return ws

    async def send_to_all() -> None:
        while True:
            for ws in members:
                await ws.send_bytes(data)
            await asyncio.sleep(0)

    sending: list[asyncio.Task[None]] = []
    await serve_with_aiohttp(join, options)


async def fan_out_picows(options: Options) -> None:
    import asyncio

    import picows

    members: list[picows.WSTransport] = []
    complete = asyncio.Event()
    data = wire.payload(options.size)

    class Member(picows.WSListener):
        def on_ws_connected(self, transport: picows.WSTransport) -> None:
            members.append(transport)
            if len(members) == options.connections + options.stalled:
                complete.set()

    server = await picows.ws_create_server(lambda request: Member(), HOST, 0)
    port = server.sockets[0].getsockname()[1]
    announce(port)
    kept = stall(port, options)
    await complete.wait()
    while kept is not None:
        for transport in members:
            transport.send(picows.WSMsgType.BINARY, data)
        await asyncio.sleep(0)


async def fan_out_trio_websocket(options: Options) -> None:
    import trio
    from trio_websocket import WebSocketConnection, WebSocketRequest, serve_websocket

    members: list[WebSocketConnection] = []
    complete = trio.Event()
    data = wire.payload(options.size)

    async def join(request: WebSocketRequest) -> None:
        members.append(await request.accept())
        if len(members) == options.connections:
            complete.set()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        start = partial(serve_websocket, join, HOST, 0, ssl_context=None)
        announce((await nursery.start(start)).port)
        await complete.wait()
        while True:
            for ws in members:
                await ws.send_message(data)


async def fan_out_sockets(options: Options) -> None:
    """The floor. It needs no loop, and blocks the one that it is run on."""
    data = wire.frame(wire.payload(options.size), masked=False)
    listener = socket.create_server((HOST, 0), backlog=128)
    announce(listener.getsockname()[1])
    members = [listener.accept()[0] for _ in range(options.connections)]
    while True:
        for member in members:
            member.send(data)


SUBJECTS = [
    *(Subject("anyio_ws", loop, fan_out_anyio_ws, ("anyio_ws",)) for loop in ALL_LOOPS),
    *(
        Subject("websockets", loop, fan_out_websockets_asyncio, ("websockets.asyncio",))
        for loop in BOTH_ASYNCIO
    ),
    Subject("websockets", "trio", fan_out_websockets_trio, ("websockets.trio",)),
    *(Subject("aiohttp", loop, fan_out_aiohttp, ("aiohttp",)) for loop in BOTH_ASYNCIO),
    *(Subject("picows", loop, fan_out_picows, ("picows",)) for loop in BOTH_ASYNCIO),
    Subject("trio-websocket", "trio", fan_out_trio_websocket, ("trio_websocket",)),
    Subject("bare-socket", "-", fan_out_sockets, (), speaks_websocket=False),
]


# -- what measures them


def measure(bench: Bench, load: Load, candidate: Candidate) -> Sample:
    compress = load.compress and candidate.subject.library != "picows"  # which would decline
    options = Options(
        connections=load.connections, size=load.size, stalled=load.stalled, compress=compress
    )
    with bench.subject(candidate, options) as process:
        port = int(process.read_line())
        request = wire.request(wire.DEFLATE if compress else "")
        said = wire.Wire(request, wire.frame(wire.payload(load.size), masked=True))
        if not candidate.subject.speaks_websocket:  # nor an opening handshake; but frames
            said = wire.Wire(b"", wire.frame(wire.payload(load.size), masked=False))
        with bench.peer(load, said, port) as peer:
            sample = count(process, peer)
            process.end()  # it would go on
    return sample


METRICS = (
    Metric("rate", "deliveries/s", more_is_better=True),
    Metric("cpu", "CPU us/delivery", 2),
)

QUESTION = Question(
    name="fanout",
    title="How fast is the same message sent to many connections?",
    metrics=METRICS,
    loads=[
        Load(
            f"{connections} members",
            mode="sink",
            connections=connections,
            depth=0,
            axis="connections",
            says=f"64 bytes to each of {connections:,} connections, over and over",
        )
        for connections in (10, 100, 1_000)
    ],
    subjects=SUBJECTS,
    module="fanout",
    measure=measure,
    quick_loads=("100 members", "1000 members"),
)
