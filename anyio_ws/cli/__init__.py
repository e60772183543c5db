"""The command line: what it understands, and which command it runs.

A command's own module is imported only when it is run: the command line, ``--version`` and
``--help`` work with nothing installed but what the library itself needs.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import platform
import signal
import sys
from collections.abc import Sequence

from anyio_ws.cli import signals
from anyio_ws.cli.arguments import not_negative, port, positive
from anyio_ws.cli.client_parser import (
    check_connect,
    check_connection,
    describe_connect,
    describe_ping,
)
from anyio_ws.sansio.codec import CODEC

DEMO = "'anyio-ws[demo]'"  # the distribution, as pip is told it


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` names and return its exit code.

    :raises SystemExit: for ``--help`` (0) and for arguments that make no sense (2)
    """
    understood = parser()
    arguments = understood.parse_args(argv)
    if arguments.version:
        print(versions())
        return 0
    if arguments.command is None:
        understood.error("which command? (there are: connect, ping, serve, demo)")
    return int(arguments.run(arguments))


def versions() -> str:
    """Return what a bug report needs, a line each: versions, ours and of what we stand on, and the codec."""
    lines: list[str] = []
    for distribution in ("anyio-ws", "anyio", "trio", "h11"):
        try:
            lines.append(f"{distribution} {importlib.metadata.version(distribution)}")
        except importlib.metadata.PackageNotFoundError:
            if distribution != "trio":  # only an extra
                lines.append(f"{distribution} (not installed as a distribution)")
    python = f"Python {platform.python_version()} ({platform.python_implementation()})"
    return "\n".join([lines[0], python, *lines[1:], f"codec: {CODEC}"])


def parser() -> argparse.ArgumentParser:
    """Return what understands the command line."""
    made = argparse.ArgumentParser(
        prog="anyio-ws", description="WebSockets for structured concurrency."
    )
    made.add_argument(
        "--version", action="store_true", help="show our version and those of what we stand on"
    )
    commands = made.add_subparsers(dest="command", metavar="COMMAND")
    connect = commands.add_parser("connect", help="talk to a server, or show what it says")
    describe_connect(connect)
    connect.set_defaults(run=_connect, usage_error=connect.error)
    ping = commands.add_parser("ping", help="measure how long a server takes to answer")
    describe_ping(ping)
    ping.set_defaults(run=_ping, usage_error=ping.error)
    _describe_serve(commands.add_parser("serve", help="serve a handler of yours"))
    _describe_demo(
        commands.add_parser(
            "demo", help="three live feeds of this machine: served, opened and merged"
        )
    )
    return made


def _describe_serve(serve: argparse.ArgumentParser) -> None:
    serve.set_defaults(run=_serve, usage_error=serve.error)
    serve.description = (
        "Serve WebSockets with a handler: an async function that is called with each connection, a Router, "
        "or any other async callable. The module is imported with the current directory on the path. SIGINT "
        "or SIGTERM ends the server: connections are closed with 1001 (going away), handlers finish, and the "
        "exit code is 0; a second signal ends it at once, and the exit code is 1."
    )
    serve.add_argument(
        "handler", nargs="?", metavar="module:handler", help="what to serve, as in app.chat:handle"
    )
    serve.add_argument(
        "--echo", action="store_true", help="instead: send every message back, to try clients with"
    )
    serve.add_argument(
        "--host",
        action="append",
        help='address or name to listen on; may be repeated; "" is every interface (default: 127.0.0.1)',
    )
    serve.add_argument(
        "--port", type=port, help="port to listen on; 0 is any free one (default: 8765)"
    )
    serve.add_argument("--unix", metavar="PATH", help="listen on a Unix socket instead")
    serve.add_argument(
        "--cert", metavar="FILE", help="for TLS: certificate, and what else its chain needs, in PEM"
    )
    serve.add_argument(
        "--key", metavar="FILE", help="the certificate's private key, if it is in another file"
    )
    serve.add_argument(
        "--backend",
        choices=("asyncio", "trio"),
        default="asyncio",
        help="what to run on (default: asyncio)",
    )
    serve.add_argument("--uvloop", action="store_true", help="run asyncio on uvloop")
    serve.add_argument(
        "--reuse-port", action="store_true", help="share the port with other processes that do so"
    )
    serve.add_argument(
        "--grace",
        type=not_negative,
        default=0.0,
        metavar="SECONDS",
        help="what handlers are given to finish before their connections are closed (default: 0)",
    )
    serve.add_argument("-v", "--verbose", action="store_true", help="log at DEBUG, frames and all")


def _describe_demo(demo: argparse.ArgumentParser) -> None:
    demo.set_defaults(run=_demo, usage_error=demo.error)
    demo.description = (
        "Serve three feeds of live readings of this machine on the loopback interface "
        "(cpu, memory, network), open a WebSocket to each, merge them, and show what arrives; with "
        "--web also on a page for browsers."
    )
    demo.add_argument(
        "--backend",
        choices=("trio", "asyncio"),
        default="trio" if importlib.util.find_spec("trio") else "asyncio",
        help="what to run on (default: trio if it is installed; here: %(default)s)",
    )
    demo.add_argument(
        "--interval",
        type=positive,
        default=1.0,
        metavar="SECONDS",
        help="the time between two readings of a feed (default: %(default)s)",
    )
    demo.add_argument(
        "--seconds",
        type=not_negative,
        default=0.0,
        metavar="N",
        help="end after so many seconds (default: 0, which is never: Ctrl-C ends it)",
    )
    demo.add_argument(
        "--plain",
        action="store_true",
        help="print a line per message, not a table; so it is when the output is not a terminal",
    )
    demo.add_argument(
        "--web",
        action="store_true",
        help="also serve a web page that draws what arrives; where, stands on the standard error",
    )
    demo.add_argument(
        "--host",
        help='address or name to serve the page on; "" is every interface (default: 127.0.0.1)',
    )
    demo.add_argument(
        "--port", type=port, help="port to serve it on; 0 is any free one (default: 8765)"
    )


def _serve(arguments: argparse.Namespace) -> int:
    _check_serve(arguments)
    if missing := _missing_backend("serve", arguments):
        return missing
    from anyio_ws.cli import serve

    return serve.run(
        target=arguments.handler,
        hosts=arguments.host or ["127.0.0.1"],
        port=8765 if arguments.port is None else arguments.port,
        unix_path=arguments.unix,
        certificate=arguments.cert,
        key=arguments.key,
        reuse_port=arguments.reuse_port,
        grace=arguments.grace,
        backend=arguments.backend,
        use_uvloop=arguments.uvloop,
        verbose=arguments.verbose,
    )


def _check_serve(arguments: argparse.Namespace) -> None:
    """Refuse what makes no sense together.

    :raises SystemExit: it doesn't
    """
    if (arguments.handler is None) == (not arguments.echo):
        arguments.usage_error("what is to be served? module:handler, or --echo")
    if arguments.unix is not None:
        given = {"--host": arguments.host, "--port": arguments.port is not None}
        for name, value in {**given, "--reuse-port": arguments.reuse_port}.items():
            if value:
                arguments.usage_error(f"argument {name}: not allowed with argument --unix")
    if arguments.key is not None and arguments.cert is None:
        arguments.usage_error("argument --key: not without --cert")
    _check_backend(arguments)


def _connect(arguments: argparse.Namespace) -> int:
    check_connect(arguments)
    try:
        with signals.held():
            from anyio_ws.cli import connect

        return connect.run(arguments)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _ping(arguments: argparse.Namespace) -> int:
    check_connection(arguments)
    _check_backend(arguments)
    if missing := _missing_backend("ping", arguments):
        return missing
    try:
        with signals.held():
            from anyio_ws.cli import ping

        return ping.run(arguments)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _demo(arguments: argparse.Namespace) -> int:
    if not arguments.web:
        for name, value in (("--host", arguments.host), ("--port", arguments.port)):
            if value is not None:
                arguments.usage_error(f"argument {name}: not without --web")
    host = "127.0.0.1" if arguments.host is None else arguments.host
    page_port = 8765 if arguments.port is None else arguments.port
    if arguments.backend == "trio" and not importlib.util.find_spec("trio"):
        return _missing("demo", "trio", DEMO)
    with signals.held():
        try:
            from anyio_ws.cli import demo
        except ModuleNotFoundError as error:
            module = (error.name or "").partition(".")[0]
            if module not in ("psutil", "rich"):
                raise
            return _missing("demo", module, DEMO)

        return demo.run(
            backend=arguments.backend,
            interval=arguments.interval,
            seconds=arguments.seconds,
            plain=arguments.plain,
            web=(host, page_port) if arguments.web else None,
        )


def _check_backend(arguments: argparse.Namespace) -> None:
    if arguments.uvloop and arguments.backend != "asyncio":
        arguments.usage_error(f"argument --uvloop: not with the backend {arguments.backend}")


def _missing_backend(command: str, arguments: argparse.Namespace) -> int:
    """Say what isn't there, and return the exit code; 0 if all is."""
    if arguments.backend == "trio" and not importlib.util.find_spec("trio"):
        return _missing(command, "trio", "'anyio-ws[trio]'")
    if arguments.uvloop and not importlib.util.find_spec("uvloop"):
        return _missing(command, "uvloop", "uvloop")
    return 0


def _missing(command: str, module: str, package: str) -> int:
    print(f"anyio-ws {command} needs {module}: pip install {package}", file=sys.stderr)
    return 2
