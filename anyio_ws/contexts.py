"""How the context managers of this package end: the one place that decides what comes out of a block.

The promise: what the body raised comes out as that very object, and nothing is invented or lost. A task
group wraps whatever it is given into a group; `exit_group` undoes that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import anyio
from anyio.abc import TaskGroup

__all__ = ["exit_group"]


async def exit_group(
    group: TaskGroup, body: BaseException | None, leaving: BaseException | None = None
) -> bool:
    """Exit *group* for ``__aexit__``, whose result this is, after its body raised *body* (or nothing).

    *leaving* is what was raised by the work that ``__aexit__`` did before, if anything.

    Returns False, which makes the interpreter re-raise *body* untouched, when apart from cancellation
    nothing else was raised in the group; then only asyncio's own ``Task.cancel`` goes before *body*.
    Other exceptions come out as they are, or as a group of exactly these when there are several.
    """
    cancelled = anyio.get_cancelled_exc_class()
    raised = leaving
    try:
        given = leaving if body is None else body
        if given is None:
            await group.__aexit__(None, None, None)
        else:
            await group.__aexit__(type(given), given, given.__traceback__)
    except BaseException as exc:
        raised = exc
    # A group of the user's comes back as a copy when trio has split it: its leaves tell.
    own = {id(leaf) for leaf in _leaves(body)}
    found = [leaf for leaf in (*_leaves(raised), *_leaves(leaving)) if id(leaf) not in own]
    # By identity: a user's exception need not be hashable.
    others = list({id(leaf): leaf for leaf in found if not isinstance(leaf, cancelled)}.values())
    if not others:
        if body is None and raised is not None:
            raise raised  # we were cancelled while we waited
        if _natively_cancelled(leaving) and not isinstance(body, cancelled):
            raise cast("BaseException", leaving)
        return False
    if body is not None and not isinstance(body, cancelled):
        others.insert(0, body)
    if len(others) == 1:
        raise others[0]
    raise BaseExceptionGroup("several tasks of a connection or server failed", others)


def _natively_cancelled(leaving: BaseException | None) -> bool:
    """Whether *leaving* is a cancellation that comes only once, of asyncio and not of a cancel scope.

    What a scope cancels is cancelled again at its next await; asyncio's ``Task.cancel`` would be lost.
    """
    return (
        isinstance(leaving, anyio.get_cancelled_exc_class())
        and anyio.current_effective_deadline() > -math.inf
    )


def _leaves(raised: BaseException | None) -> Iterator[BaseException]:
    """The exceptions in a group, and in its groups."""
    if isinstance(raised, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", raised).exceptions:
            yield from _leaves(inner)
    elif raised is not None:
        yield raised
