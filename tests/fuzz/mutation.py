"""Fuzzing without a fuzzer: inputs are mutated at random, the same ones for the same seed.

Nothing guides it, so it is no substitute for `__main__`; but it needs nothing to be installed, and a few
seconds of it find what is broken near the seeds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from .targets import Target

INTERESTING: Final = (0x00, 0x01, 0x7D, 0x7E, 0x7F, 0x80, 0x81, 0x88, 0xFE, 0xFF, *b'\r\n ,;="\\')


class Finding(NamedTuple):
    """An input on which a target raised."""

    data: bytes
    exc: Exception
    executions: int


def inputs(seeds: Sequence[bytes], executions: int, seed: int) -> Iterator[bytes]:
    """Give the *seeds* as they are, and then mutations of them."""
    yield from seeds
    chance = random.Random(seed)
    for _ in range(executions - len(seeds)):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 4)):
            chance.choice(_MUTATIONS)(chance, data, seeds)
        yield bytes(data)


def explore(
    target: Target, seeds: Sequence[bytes], *, executions: int, seed: int = 1
) -> Finding | None:
    """Run *target* on that many inputs; return the first on which it raises."""
    for number, data in enumerate(inputs(seeds, executions, seed), 1):
        try:
            target(data)
        except Exception as exc:
            return Finding(data, exc, number)
    return None


def _flip(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice(INTERESTING)


def _set_early(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    """Where the settings and the first header are."""
    if data:
        data[chance.randrange(min(len(data), 16))] = chance.randrange(256)


def _insert(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = chance.randint(0, len(data))
    data[at:at] = chance.randbytes(chance.randint(1, 4))


def _delete(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = chance.randint(0, len(data))
    del data[at : at + chance.randint(1, 8)]


def _cut(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    del data[chance.randint(0, len(data)) :]


def _repeat(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    begin, end = sorted((chance.randint(0, len(data)), chance.randint(0, len(data))))
    data[end:end] = data[begin : min(end, begin + 512)]


def _splice(chance: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    """Go on with what follows the settings of another seed."""
    data += chance.choice(seeds)[2:]


_MUTATIONS: Final[Sequence[Callable[[random.Random, bytearray, Sequence[bytes]], None]]] = (
    _flip,
    _set,
    _set_early,
    _insert,
    _delete,
    _cut,
    _repeat,
    _splice,
)
