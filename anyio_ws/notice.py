"""Something that is said once, to whoever wants to know."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import anyio

__all__ = ["Notice"]


class Notice:
    """``await notice`` waits until it is given, ``if notice:`` looks whether it was."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = anyio.Event()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def __await__(self) -> Generator[Any, Any, None]:
        return self.wait().__await__()

    async def wait(self) -> None:
        """Wait until it is given. Cancelling only ends the waiting."""
        await self._event.wait()

    def give(self) -> None:
        """Not for who waits: let everyone know."""
        self._event.set()
