"""The demo's table: the latest reading of each feed, in words."""

from __future__ import annotations

from collections.abc import Mapping

from rich.filesize import decimal
from rich.table import Table

from anyio_ws.cli.readings import Reading


def build_table(latest: Mapping[str, Reading | None]) -> Table:
    """Return a table with a row for each feed: its name, and what its latest reading says."""
    table = Table(title="This machine, over three WebSockets", caption="Ctrl-C ends", expand=True)
    table.add_column("feed", style="bold")
    table.add_column("latest reading", ratio=1)
    for feed, reading in latest.items():
        table.add_row(feed, DESCRIBE[feed](reading) if reading else "waiting")
    return table


def _cpu(reading: Reading) -> str:
    cores: list[float] = reading["percent"]
    each = " ".join(f"{percent:.0f}" for percent in cores)
    return f"{sum(cores) / len(cores):.0f} % busy\neach core: {each}"


def _memory(reading: Reading) -> str:
    swap = reading["swap"]
    return (
        f"{reading['percent']:.0f} % of {decimal(reading['total'])} used, "
        f"{decimal(reading['available'])} available\n"
        f"swap: {decimal(swap['used'])} of {decimal(swap['total'])} used"
    )


def _network(reading: Reading) -> str:
    rates = reading["per_second"]
    return "\n".join(
        f"{label}: {decimal(round(rates[f'bytes_{way}']))}/s, "
        f"{rates[f'packets_{way}']:.0f} packets/s (so far {decimal(reading[f'bytes_{way}'])})"
        for label, way in (("in", "recv"), ("out", "sent"))
    )


DESCRIBE = {"cpu": _cpu, "memory": _memory, "network": _network}
