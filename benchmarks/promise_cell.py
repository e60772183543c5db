"""Run one part of a promise with one library: ``python benchmarks/promise_cell.py PART LIBRARY``.

Prints what was found as JSON. `benchmarks/promises.py` runs it, and ends it if it doesn't end.
"""

from __future__ import annotations

import os
import resource
import sys
import traceback
from typing import NoReturn

import promise_errors
import promise_fanout
import promise_limits
import promise_reconnect
import promise_streams
from promise_parts import PARTS, Finding, finish
from promise_peers import DRIVERS

__all__ = ["PARTS", "main"]

# Their import registers the parts.
MODULES = (promise_errors, promise_streams, promise_fanout, promise_reconnect, promise_limits)
MEMORY = 3 * 2**30


def main(part_id: str, name: str) -> NoReturn:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    (part,) = [part for part in PARTS if part.id == part_id]
    driver = DRIVERS[name]

    async def run() -> None:
        finish(await part.scenario(driver))

    try:
        driver.backend.run(run)
    except BaseException as exc:
        if type(exc).__name__ == "TrioInternalError":  # no scenario can do that
            finish(Finding(False, "trio itself broke down: TrioInternalError"))
        traceback.print_exc()
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
