"""Ctrl-C under trio: raised in the program's code, not in the middle of ours.

Trio raises a `KeyboardInterrupt` in whatever task happens to run. Struck in a task of ours it would come out
of a block as an exception of that task. A function marked with `keep_interrupts_out` and what it calls are
spared: trio raises it in the main task instead. `let_interrupts_in` ends that for what a function calls: the
user's own code, which may be an endless loop. asyncio cancels its main task, and needs none of this.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

__all__ = ["apply_to_trio", "keep_interrupts_out", "let_interrupts_in"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_unapplied: Final[list[tuple[Callable[..., Any], bool]]] = []


def keep_interrupts_out(function: _Function) -> _Function:
    """Mark *function*, from the next `apply_to_trio` on."""
    _unapplied.append((function, True))
    return function


def let_interrupts_in(function: _Function) -> _Function:
    """Mark *function*, which is called by one that is marked with `keep_interrupts_out`."""
    _unapplied.append((function, False))
    return function


def apply_to_trio() -> None:
    """To be called before a marked function runs: without trio there is nothing to be done."""
    if _unapplied and sys.modules.get("trio") is not None:
        import trio

        while _unapplied:
            function, protected = _unapplied.pop()
            if protected:
                trio.lowlevel.enable_ki_protection(function)
            else:
                trio.lowlevel.disable_ki_protection(function)
