"""Where every module stands, and who may import whom.

`SHELVES` lists every module of the package, from the bottom to the top. A module may import from
its own shelf and from lower ones, if its room's row in `ROOMS` allows the other's room. Whoever adds
a module decides where it belongs.

``test_layers.py`` enforces it, and the documentation draws it (``docs/_ext/drawings.py``): nothing here
needs more than the standard library.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple


class Room(NamedTuple):
    below: frozenset[str]
    """The other rooms that it may import from."""
    libraries: frozenset[str]
    """What it may import that is not in the standard library."""
    public_only: bool
    """May it use only the public names of the rooms below?"""
    no_io: bool
    """Bytes in, events out: no await, no clock, no socket?"""


def room(
    below: str, libraries: str = "", *, public_only: bool = False, no_io: bool = False
) -> Room:
    return Room(frozenset(below.split()), frozenset(libraries.split()), public_only, no_io)


ROOMS = {
    "exceptions": room("", no_io=True),
    "sansio": room("exceptions", "h11", no_io=True),
    "transports": room("exceptions", "anyio trio"),
    # The one way out of a block: shared by the context managers of every room above.
    "context": room("exceptions", "anyio"),
    "websocket": room("exceptions sansio transports context", "anyio"),
    # Of the Sans-I/O room they know what is in messages and errors: codes, responses.
    "compositions": room("exceptions context sansio websocket", "anyio", public_only=True),
    "face": room("exceptions sansio websocket compositions", public_only=True),
    "testing": room(
        "exceptions context sansio websocket compositions face", "anyio trio", public_only=True
    ),
    "cli": room(
        "exceptions sansio websocket compositions face",
        "anyio prompt_toolkit psutil rich",
        public_only=True,
    ),
    "main": room("cli"),
}

SHELVES: list[tuple[str, str]] = [
    ("exceptions", "exceptions"),
    ("sansio", "sansio._pure_codec sansio._codec"),
    ("sansio", "sansio.codec sansio.masking sansio.headers sansio.uri sansio.state sansio.logs"),
    ("sansio", "sansio.frames"),
    ("sansio", "sansio.extensions sansio.extensions.*"),
    ("sansio", "sansio.messages sansio.trace sansio.prepared"),
    ("sansio", "sansio.head"),
    ("sansio", "sansio.http"),
    ("sansio", "sansio.protocol"),
    ("sansio", "sansio.connect sansio.handshake sansio.client sansio.server"),
    ("sansio", "sansio"),
    ("transports", "transports.base"),
    ("transports", "transports transports.*"),
    ("context", "contexts"),
    (
        "websocket",
        "cookies errors events inbox outbox turnstile trust proxies options keepalive notice statistics "
        "observer lifetime json_codecs",
    ),
    ("websocket", "redirects dialling backlog"),
    ("websocket", "connection"),
    ("websocket", "waiting offering"),
    ("websocket", "receiving lowlevel"),
    ("websocket", "websocket"),
    ("websocket", "opening"),
    ("websocket", "accepting"),
    ("websocket", "service"),
    ("websocket", "client server auth routing"),
    ("compositions", "retrying trio_adapter broadcast"),
    ("compositions", "members merged mux aggregate channel reconnect lifecycle adapters"),
    ("face", "."),
    ("testing", "testing testing.*"),
    ("cli", "cli cli.*"),
    ("main", "__main__"),
]


def modules(root: Path) -> dict[str, Path]:
    """Map the name of every module below *root* to its file; the package itself is "."."""
    found = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "."] = path
    return found


def shelf_of(module: str) -> int | None:
    for number, (_, patterns) in enumerate(SHELVES):
        if any(fnmatchcase(module, pattern) for pattern in patterns.split()):
            return number
    return None
