"""What the demo's feeds tell: readings of this machine, never invented.

No function here waits. Sizes are bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psutil

Reading = dict[str, Any]  # as JSON has it

COUNTERS = ("bytes_recv", "packets_recv", "bytes_sent", "packets_sent")


def feeds() -> dict[str, Callable[[], Reading]]:
    """Return for each feed by its name what takes its next reading.

    Usage and rates are those since the reading before; the first, since this call.
    """
    cpu()
    return {"cpu": cpu, "memory": memory, "network": Network()}


def cpu() -> Reading:
    """Return how busy each core was since the last call, in percent."""
    return {"percent": psutil.cpu_percent(interval=None, percpu=True)}


def memory() -> Reading:
    """Return how much memory and swap space there is, and is used."""
    ram, swap = psutil.virtual_memory(), psutil.swap_memory()
    return {
        "total": ram.total,
        "used": ram.used,
        "available": ram.available,
        "percent": ram.percent,
        "swap": {"total": swap.total, "used": swap.used, "percent": swap.percent},
    }


class Network:
    """Calling it returns the counters of all network interfaces, and their rates per second."""

    def __init__(self) -> None:
        self._counters, self._time = self._read(), time.perf_counter()

    def __call__(self) -> Reading:
        counters, now = self._read(), time.perf_counter()
        seconds = now - self._time
        rates = {name: (counters[name] - self._counters[name]) / seconds for name in COUNTERS}
        self._counters, self._time = counters, now
        return {**counters, "per_second": {name: round(rate, 1) for name, rate in rates.items()}}

    @staticmethod
    def _read() -> dict[str, int]:
        counters = psutil.net_io_counters()  # None on a machine without any interface
        return {name: getattr(counters, name, 0) for name in COUNTERS}
