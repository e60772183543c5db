"""Something that is said once, to whoever wants to know."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import anyio

__all__ = ["Notice"]


class Notice:
    """``await notice`` waits until it is given, ``if notice:`` looks whether it was."""

    __slots__ = ("_event", "_watchers")

    def __init__(self) -> None:
        self._event = anyio.Event()
        self._watchers: set[Callable[[], None]] = set()

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
        for watcher in self._watchers:
            watcher()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Not for who only waits: have *watcher* called when it is given; it must neither wait nor raise."""
        self._watchers.add(watcher)

    def unwatch(self, watcher: Callable[[], None]) -> None:
        """Undo `watch`; again, it does nothing."""
        self._watchers.discard(watcher)
