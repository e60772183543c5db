"""How the context managers of this package end: the one place that decides what comes out of a block.

The promise: what the body raised comes out as that very object, and nothing is invented or lost. A task
group wraps whatever it is given into a group; `exit_group` undoes that.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from typing import NoReturn, cast

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import cancel_shielded_checkpoint

__all__ = ["comes_only_once", "exit_group", "leaves", "native_cancellations"]


async def exit_group(
    group: TaskGroup | None,
    body: BaseException | None,
    leaving: BaseException | None = None,
    kept: Sequence[BaseException] = (),
) -> bool:
    """Exit *group* for ``__aexit__``, whose result this is, after its body raised *body* (or nothing).

    None is for a block without a group, all of whose work is done: the rest is the same.

    *leaving* is what was raised by the work that ``__aexit__`` did before, if anything. *kept* is what
    tasks of the group raised and kept from it: trio copies every group that passes a cancelled scope.

    Returns False, which makes the interpreter re-raise *body* untouched, when apart from cancellation
    nothing else was raised in the group; then only asyncio's own ``Task.cancel`` goes before *body*.
    Other exceptions come out as they are, or as a group of exactly these when there are several.
    """
    cancelled = anyio.get_cancelled_exc_class()
    natively = isinstance(leaving, cancelled) and comes_only_once(leaving)
    raised: BaseException | None = None
    try:
        given = leaving if body is None else body
        if group is None:
            raised = given
            # Not within the step that threw a cancellation into the block: the interpreter would make
            # that the context of whatever comes out of this one.
            await cancel_shielded_checkpoint()
        elif given is None:
            await group.__aexit__(None, None, None)
        else:
            await group.__aexit__(type(given), given, given.__traceback__)
    except BaseException as exc:
        raised = exc
        if group is None:
            raise  # asyncio's Task.cancel, while we took that step
    # A group of the user's comes back as a copy when trio has split it: its leaves tell.
    own = {id(leaf) for leaf in leaves(body)}
    found = [leaf for leaf in (*leaves(raised), *leaves(leaving)) if id(leaf) not in own]
    real = (leaf for leaf in found if not isinstance(leaf, cancelled))
    # By identity: a user's exception need not be hashable.
    others = list({id(one): one for one in (*real, *kept)}.values())
    if others:
        bodys_own = _without_cancellation(body)
        _raise_all(others if bodys_own is None else [bodys_own, *others])
    if natively and not isinstance(body, cancelled):
        _raise_all([cast("BaseException", leaving)])
    if body is None and raised is not None:
        _raise_all([raised])  # we were cancelled while we waited
    return False


def comes_only_once(cancellation: BaseException) -> bool:
    """Whether *cancellation*, caught just now, is asyncio's ``Task.cancel`` and not of a cancel scope.

    What a scope cancels is cancelled again at its next await; that of asyncio would be lost.
    """
    return anyio.current_effective_deadline() > -math.inf


def native_cancellations() -> int:
    """How many calls of asyncio's ``Task.cancel`` the current task has still to answer; 0 on trio.

    Whoever swallows an exception swallows the cancellation with it that was pending, if the exception was
    raised in its place. Those of a cancel scope aren't counted: they come again.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return 0
    if task is None or anyio.current_effective_deadline() == -math.inf:
        return 0
    return task.cancelling()


def _raise_all(errors: list[BaseException]) -> NoReturn:
    """Raise the one, or a group of the several; ``__context__`` stays what it was."""
    error = errors[0]
    if len(errors) > 1:
        error = BaseExceptionGroup("several tasks of a connection or server failed", errors)
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context


def _without_cancellation(raised: BaseException | None) -> BaseException | None:
    """*raised* itself if there is no cancellation in it, else what there is beside it."""
    cancelled = anyio.get_cancelled_exc_class()
    if not any(isinstance(leaf, cancelled) for leaf in leaves(raised)):
        return raised
    if isinstance(raised, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", raised).split(cancelled)[1]
    return None


def leaves(raised: BaseException | None) -> Iterator[BaseException]:
    """The exceptions in a group, and in its groups."""
    if isinstance(raised, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", raised).exceptions:
            yield from leaves(inner)
    elif raised is not None:
        yield raised
