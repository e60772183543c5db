"""What compression costs and gains: ``python benchmarks/deflate_memory.py`` prints it, for docs/limits.rst.

For each size of the window and ``mem_level``: memory of a compressor and an inflater, as the C library counts
it (Linux with glibc 2.33 or later), and ratio and time for a feed of JSON messages, small and large.
"""

from __future__ import annotations

import ctypes
import gc
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from anyio_ws.sansio import Frame, Opcode, PerMessageDeflate

SETTINGS = [(9, 1), (10, 3), (11, 4), (12, 4), (12, 5), (12, 8), (13, 6), (14, 7), (15, 8), (15, 9)]
"""Window bits and mem_level."""

OBJECTS = 100


def deflate(bits: int, mem_level: int, *, alone: bool = False) -> PerMessageDeflate:
    return PerMessageDeflate(
        remote_no_context_takeover=alone,
        local_no_context_takeover=alone,
        remote_max_window_bits=bits,
        local_max_window_bits=bits,
        mem_level=mem_level,
        threshold=0,
    )


# -- memory


class _Mallinfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            [
                "arena",
                "ordblks",
                "smblks",
                "hblks",
                "hblkhd",
                "usmblks",
                "fsmblks",
                "uordblks",
                "fordblks",
                "keepcost",
            ]
        )
    ]


def allocated() -> int:
    """Bytes that the C library has given out."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Mallinfo
    info = mallinfo()
    return int(info.uordblks) + int(info.hblkhd)


def memory(make: Callable[[], object]) -> float:
    """KiB that what *make* returns occupies, as a mean of many."""
    make()
    gc.collect()
    before = allocated()
    kept = [make() for _ in range(OBJECTS)]
    after = allocated()
    return (after - before) / len(kept) / 1024


def used_compressor(bits: int, mem_level: int) -> object:
    extension = deflate(bits, mem_level)
    extension.encode(FILLING)
    return extension


def used_inflater(bits: int, filled: Frame) -> object:
    extension = deflate(bits, 1)
    extension.decode(filled, max_size=None)
    return extension


# -- what is sent


def feed(size: int, count: int) -> list[bytes]:
    """*count* messages of about *size* bytes, each a list of quotes of the same shape."""
    source = random.Random(7)
    names = ["EURUSD", "GBPUSD", "USDJPY", "AUDUSD", "USDCHF", "NZDUSD", "EURGBP", "USDCAD"]

    def quote() -> dict[str, Any]:
        bid = source.uniform(0.5, 2)
        return {
            "symbol": source.choice(names),
            "bid": round(bid, 5),
            "ask": round(bid + 0.0001, 5),
            "time": round(1.7e9 + source.random() * 1e6, 3),
            "volume": source.randrange(10**6),
        }

    messages: list[bytes] = []
    while len(messages) < count:
        quotes = [quote()]
        while len(json.dumps(quotes)) < size - 50:
            quotes.append(quote())
        messages.append(json.dumps(quotes if len(quotes) > 1 else quotes[0]).encode())
    return messages


FILLING = Frame(Opcode.TEXT, b"".join(feed(100_000, 1)))


def speed(
    messages: Sequence[bytes], bits: int, mem_level: int, *, alone: bool
) -> tuple[float, float, float]:
    """Return the size left, in percent, and microseconds to compress and to inflate a message."""
    times: list[tuple[float, float]] = []
    compressed = 0
    for _ in range(5):
        sender, receiver = (deflate(bits, mem_level, alone=alone) for _ in range(2))
        frames = [Frame(Opcode.TEXT, message) for message in messages]
        start = time.process_time()
        encoded = [sender.encode(frame) for frame in frames]
        middle = time.process_time()
        decoded = [receiver.decode(frame, max_size=2**20) for frame in encoded]
        end = time.process_time()
        assert decoded == frames
        compressed = sum(len(frame.data) for frame in encoded)
        times.append((middle - start, end - middle))
    plain = sum(map(len, messages))
    to_compress, to_inflate = (
        statistics.median(column) / len(messages) * 1e6 for column in zip(*times, strict=True)
    )
    return 100 * compressed / plain, to_compress, to_inflate


def main() -> None:
    small, large = feed(100, 2000), feed(10 * 1024, 100)
    mean = statistics.mean
    print(f"Messages of {mean(map(len, small)):.0f} and {mean(map(len, large)):.0f} bytes.\n")
    print("bits level | KiB compressor inflater | small: left compress inflate | large: the same")
    for alone in (False, True):
        print("each message by itself" if alone else "context takeover")
        for bits, mem_level in SETTINGS:
            compressor = memory(lambda b=bits, m=mem_level: used_compressor(b, m))  # type: ignore[misc]
            filled = deflate(bits, mem_level).encode(FILLING)
            inflater = memory(lambda b=bits, f=filled: used_inflater(b, f))  # type: ignore[misc]
            columns = [f"{bits:4} {mem_level:5} | {compressor:9.0f} {inflater:8.0f}"]
            for messages in (small, large):
                left, to_compress, to_inflate = speed(messages, bits, mem_level, alone=alone)
                columns.append(f"{left:5.1f} % {to_compress:6.1f} us {to_inflate:6.1f} us")
            print(" | ".join(columns))


if __name__ == "__main__":
    main()
