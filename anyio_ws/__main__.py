"""``python -m anyio_ws`` and the script ``anyio-ws``: the command line, made safe to interrupt.

It must import nothing at the top: what Ctrl-C can interrupt stands inside `main`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` (by default the arguments of the process) names.

    Return the exit code: 0, or 2 where the command can't run as asked.
    """
    try:
        from anyio_ws.cli import main as run

        return run(argv)
    except KeyboardInterrupt:
        # A command that runs until Ctrl-C listens for it. This one came before that or after it,
        # when nothing is open that would have to be closed.
        return 0


if __name__ == "__main__":
    sys.exit(main())
