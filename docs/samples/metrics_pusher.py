"""A client that only sends: samples of a metric, none of which waits for a collector that is slow."""

import json
import time

import anyio

from anyio_ws import ConnectionClosed, WebSocket, open_server, open_websocket

INTERVAL = 0.01


async def push(ws: WebSocket) -> None:
    skipped = 0
    try:
        async with ws.discard_incoming():
            while True:
                sample = {"busy": time.process_time(), "skipped": skipped}
                try:
                    ws.send_nowait(json.dumps(sample))
                except anyio.WouldBlock:
                    skipped += 1  # the next one is worth more than this one, late
                await anyio.sleep(INTERVAL)
    except ConnectionClosed as exc:
        print(exc.rcvd.reason if exc.rcvd else exc)


async def collect(ws: WebSocket) -> None:
    samples: list[dict[str, float]] = []
    while len(samples) < 3:
        samples.append(json.loads(await ws.receive()))
        await ws.send("thank you, which nobody reads")
    print(
        f"{len(samples)} samples, in order: {samples == sorted(samples, key=lambda s: s['busy'])}"
    )
    await ws.aclose(1000, "that is enough")


async def main() -> None:
    async with open_server(collect, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            await push(ws)


if __name__ == "__main__":
    anyio.run(main)
