"""How much memory an object keeps alive, without asking it."""

from __future__ import annotations

import gc
import logging
import sys
import types

# What objects share, and what leads out of them into all of the program.
_SHARED = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.CodeType,
    types.FrameType,  # of a traceback; its callers are the whole program
    logging.Logger,
)


def held(*roots: object) -> int:
    """Return the bytes of everything that *roots* refer to, directly or not.

    That is what Python knows about: not the windows of zlib, which have a fixed size.
    """
    found: dict[int, object] = {}
    new = [one for one in roots if not isinstance(one, _SHARED)]
    while new:
        found.update((id(one), one) for one in new)
        new = [
            one
            for one in gc.get_referents(*new)
            if id(one) not in found and not isinstance(one, _SHARED)
        ]
    return sum(map(sys.getsizeof, found.values()))
