"""The command that serves a handler of the user's, until a signal ends it.

The first signal ends it in order: connections are closed with 1001 and handlers finish, which takes a
bounded time. The second ends everything now.
"""

from __future__ import annotations

import importlib
import logging
import os
import ssl
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from signal import Signals
from typing import Any

import anyio

from anyio_ws import WebSocket, WebSocketServer, open_server
from anyio_ws.cli import signals
from anyio_ws.sansio.headers import build_host
from anyio_ws.service import Handler, check_handler

CUT_OFF = 1
"""The exit code after a second signal."""


class CannotServe(Exception):
    """Why not, in one line, and the exit code: 2 for what makes no sense, 1 for what failed."""

    def __init__(self, why: str, code: int) -> None:
        super().__init__(why)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to listen, and how."""

    hosts: list[str]
    port: int
    unix_path: str | None
    tls: ssl.SSLContext | None
    reuse_port: bool

    def __str__(self) -> str:
        if self.unix_path is not None:
            return self.unix_path
        return ", ".join(f"{host or 'any address'} port {self.port}" for host in self.hosts)


async def echo(ws: WebSocket) -> None:
    """Send every message back."""
    async for message in ws:
        await ws.send(message)


def load(target: str) -> Handler:
    """Import the handler that *target* names, as ``module:attribute.of.it``; the current directory counts.

    :raises CannotServe: there is none; what the module itself raised was printed with its traceback
    """
    module, _, path = target.partition(":")
    if not module or not path or module.startswith("."):
        raise CannotServe(f"{target!r} isn't of the form module:handler", 2)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except Exception as exc:
        if isinstance(exc, ModuleNotFoundError) and f"{module}.".startswith(f"{exc.name}."):
            raise CannotServe(f"there is no module {exc.name!r}", 2) from None
        traceback.print_exc()
        raise CannotServe(f"the module {module!r} can't be imported", 1) from None
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise CannotServe(f"there is no {path!r} in the module {module!r}", 2) from None
    try:
        check_handler(found, target)
    except TypeError as exc:
        raise CannotServe(str(exc), 2) from None
    handler: Handler = found
    return handler


def tls_context(certificate: str, key: str | None) -> ssl.SSLContext:
    """Make a server's context of files.

    :raises CannotServe: they can't be used
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as exc:  # of which those of TLS are a kind
        files = certificate if key is None else f"{certificate} and {key}"
        raise CannotServe(f"can't use the certificate in {files}: {exc}", 2) from None
    return context


def urls(server: WebSocketServer, *, secure: bool) -> Iterator[str]:
    """Where clients can connect to, or the paths of Unix sockets."""
    scheme = "wss" if secure else "ws"
    for address in server.addresses:
        if isinstance(address, str):
            yield address
        else:
            host, port = address[:2]
            yield f"{scheme}://{build_host(host, port, secure=secure)}"


async def shut_down(server: WebSocketServer, ending: AsyncIterator[Signals], grace: float) -> int:
    """End in order, or now if another signal comes; the exit code."""
    code = CUT_OFF
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(signals.cancel_at_signal, ending, tasks.cancel_scope)
        await server.shutdown(grace=grace)
        code = 0
        tasks.cancel_scope.cancel()
    return code


async def serve(*numbers: Signals, handler: Handler, place: Place, grace: float) -> int:
    """Serve until one of the signals comes; the exit code.

    :raises CannotServe: the place can't be listened on
    :raises OSError: later, a listening socket broke
    """
    unix = place.unix_path is not None
    logger = logging.getLogger("anyio_ws.server")
    with anyio.open_signal_receiver(*numbers) as ending:
        signals.release()  # the signals that came while we were starting
        async with AsyncExitStack() as stack:
            opening = open_server(
                handler,
                None if unix else place.hosts,
                None if unix else place.port,
                unix_path=place.unix_path,
                ssl=place.tls,
                reuse_port=place.reuse_port,
            )
            try:
                server = await stack.enter_async_context(opening)
            except OSError as exc:
                raise CannotServe(f"can't listen on {place}: {exc.strerror or exc}", 1) from None
            for url in urls(server, secure=place.tls is not None):
                print("listening on", url, flush=True)
            number = await anext(ending)
            logger.info("%s: shutting down, %d open", number.name, len(server.connections))
            return await shut_down(server, ending, grace)
    raise AssertionError("what the block raises isn't swallowed")


def run(
    *,
    target: str | None,
    hosts: list[str],
    port: int,
    unix_path: str | None,
    certificate: str | None,
    key: str | None,
    reuse_port: bool,
    grace: float,
    backend: str,
    use_uvloop: bool,
    verbose: bool,
) -> int:
    """Serve what *target* names, or an echo; the exit code."""
    try:
        handler = echo if target is None else load(target)
        tls = None if certificate is None else tls_context(certificate, key)
        place = Place(hosts=hosts, port=port, unix_path=unix_path, tls=tls, reuse_port=reuse_port)
        # After the import: a module that sees to logging itself is left to it.
        logging.basicConfig(
            level=logging.DEBUG if verbose else logging.INFO,
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        )
        # Before, Ctrl-C interrupts: there is nothing to close, and an import may take forever.
        with signals.held():
            return anyio.run(
                partial(
                    serve, *signals.awaited(backend), handler=handler, place=place, grace=grace
                ),
                backend=backend,
                backend_options={"use_uvloop": True} if use_uvloop else None,
            )
    except CannotServe as exc:
        print(f"anyio-ws serve: {exc}", file=sys.stderr)
        return exc.code
    except OSError as exc:
        print(f"anyio-ws serve: can't listen any more: {exc}", file=sys.stderr)
        return 1
