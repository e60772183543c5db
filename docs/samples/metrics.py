"""Metrics of a server for Prometheus, served on its own port."""

from collections.abc import Iterator

import anyio
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from anyio_ws import (
    Request,
    Response,
    ServerObserver,
    WebSocket,
    WebSocketServer,
    open_server,
    open_websocket,
)


class ServerCollector(Collector):
    """What a server counts anyway, whenever Prometheus asks."""

    def __init__(self, server: WebSocketServer) -> None:
        self.server = server

    def collect(self) -> Iterator[Metric]:
        now = self.server.statistics()
        yield GaugeMetricFamily("ws_connections", "Connections that are open.", now.open)
        yield CounterMetricFamily("ws_opened", "Connections that were opened.", now.opened)
        refused = CounterMetricFamily("ws_refused", "Refused connections.", labels=["cause"])
        for cause, count in now.refused.items():
            refused.add_metric([str(cause)], count)
        yield refused
        closed = CounterMetricFamily("ws_closed", "Ended connections.", labels=["code"])
        for code, count in now.closed.items():
            closed.add_metric([str(code)], count)
        yield closed
        for name, value in (
            ("messages_received", now.messages_received),
            ("messages_sent", now.messages_sent),
            ("bytes_received", now.bytes_received),
            ("bytes_sent", now.bytes_sent),
            ("handler_failures", now.handler_failures),
        ):
            yield CounterMetricFamily(f"ws_{name}", name.replace("_", " "), value)


class Durations(ServerObserver):
    """How long connections last, which no total tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.histogram = Histogram(
            "ws_connection_seconds",
            "How long connections were open.",
            buckets=(1, 10, 60, 600, 3600, 86400),
            registry=registry,
        )

    def closed(self, ws: WebSocket, code: int, duration: float) -> None:
        self.histogram.observe(duration)


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    registry = CollectorRegistry()

    async def metrics(request: Request) -> Response:
        if request.path == "/metrics":
            return Response.text(200, generate_latest(registry).decode())
        return Response.text(404, "There is nothing here.\n")

    async with open_server(
        echo, "127.0.0.1", 0, observer=Durations(registry), handle_http=metrics
    ) as server:
        registry.register(ServerCollector(server))
        async with open_websocket(server.url) as ws:
            await ws.send("hello")
            await ws.receive()
        for line in await scrape(server.port):
            if line.startswith(("ws_opened", "ws_messages", "ws_connection_seconds_count")):
                print(line)


async def scrape(port: int) -> list[str]:
    """What Prometheus does."""
    answer = b""
    async with await anyio.connect_tcp("127.0.0.1", port) as tcp:
        await tcp.send(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        async for chunk in tcp:
            answer += chunk
    return answer.decode().splitlines()


if __name__ == "__main__":
    anyio.run(main)
