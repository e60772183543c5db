"""The arguments of the commands that connect to a server, ``connect`` and ``ping``, and their help.

Nothing is imported here that takes an extra to be installed, or long.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from anyio_ws.cli.arguments import (
    amount,
    close_code,
    close_reason,
    cookie,
    count,
    header,
    not_negative,
    ping_size,
    positive,
    proxy,
    seconds_or_forever,
)

__all__ = ["check_connect", "check_connection", "describe_connect", "describe_ping"]

# All of them would be a dozen lines before each complaint; the help has them anyway.
USAGE = "%(prog)s [OPTION ...] URL"

CONNECT = """\
Talk to a WebSocket server: each line that you type, or that is piped in, is
sent as a text message, and each message that arrives is shown on a line.

In a terminal lines can be edited, and earlier ones found again with the arrow
keys; Ctrl-D closes the connection. That takes prompt_toolkit: pip install
'anyio-ws[cli]'. Lines that begin with a blank aren't kept in the history.

In a pipe text goes out as it is and nothing is added to it; binary messages
are lines of hexadecimal digits. At the end of the input the connection is
kept for a while, for answers. Characters by which a server could control a
terminal never reach one: they are shown as \\x1b and the like."""

CONNECT_EXAMPLES = """\
examples:
  anyio-ws connect wss://example.org/feed
  anyio-ws connect ws://localhost:8765 -H 'X-Token: secret' -s chat
  echo '{"op": "time"}' | anyio-ws connect URL --max-messages 1
  anyio-ws connect URL --no-input --json | jq .data

exit codes:
  0    the connection was closed in order, by us or by the server (1000, 1001,
       or no code)
  1    it broke, or was closed with another code; or the output failed
  2    the arguments or the input make no sense, or an extra isn't installed
  3    no connection: no such host, refused, TLS or proxy failed, time is up
  4    the server refused the handshake: 401, 404, a wrong subprotocol, ...
  130  Ctrl-C, and 143 SIGTERM: the connection is closed in order all the
       same, and at once when it comes a second time"""

PING = """\
Measure how long a WebSocket server takes to answer pings, as ping(8) does it
for hosts: a line for each answer, and a summary at the end or after Ctrl-C.
Messages that arrive meanwhile are dropped."""

PING_EXAMPLES = """\
examples:
  anyio-ws ping -c 5 wss://example.org/feed
  anyio-ws ping -c 1 -W 2 -q ws://localhost:8765 && echo alive

exit codes:
  0    at least one ping was answered
  1    none was; or the connection ended before all were sent
  2    the arguments make no sense, or an extra isn't installed
  3    no connection: no such host, refused, TLS or proxy failed, time is up
  4    the server refused the handshake: 401, 404, a wrong subprotocol, ..."""


def describe_connect(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``connect``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = USAGE
    parser.description, parser.epilog = CONNECT, CONNECT_EXAMPLES
    _add_url(parser)

    sending = parser.add_argument_group("what is sent")
    sending.add_argument(
        *("-t", "--text"),
        action="append",
        default=[],
        help="send this text first; may be repeated",
    )
    kind = sending.add_mutually_exclusive_group()
    kind.add_argument("--binary", action="store_true", help="send lines as binary messages")
    kind.add_argument(
        "--hex",
        action="store_true",
        help="lines are hexadecimal digits, sent as binary messages; show binary messages so, too",
    )
    sending.add_argument(
        *("-0", "--null"),
        action="store_true",
        help="messages end with a zero byte, in the input and in the output, and not with a line break",
    )
    sending.add_argument(
        "--no-input", action="store_true", help="read nothing: only show what arrives"
    )
    sending.add_argument(
        "--no-history", action="store_true", help="neither read nor keep what was typed before"
    )

    showing = parser.add_argument_group("what is shown")
    shape = showing.add_mutually_exclusive_group()
    shape.add_argument(
        *("-r", "--raw"),
        action="store_true",
        help="messages as they are, text and binary, and nothing else, not even a line break; in a "
        "terminal, no prompt and no decoration",
    )
    shape.add_argument(
        "--json",
        action="store_true",
        help="everything that happens as a line of JSON, with its time: open, text, binary (base64, or "
        "hexadecimal with --hex), ping, pong, close",
    )
    showing.add_argument(
        "--decompress",
        action="store_true",
        help="unpack binary messages that are in the formats of gzip, zlib or deflate",
    )
    showing.add_argument(
        "--timings",
        action="store_true",
        help="before each message, seconds since the connection was open, and since the message before",
    )
    showing.add_argument(
        "--timestamps", action="store_true", help="before each message, date and time"
    )
    _add_verbose(showing.add_argument, "-v for the handshake, and what kind each message is;")

    ending = parser.add_argument_group("when it ends")
    ending.add_argument(
        "--max-messages", type=count, metavar="N", help="close after so many messages have arrived"
    )
    ending.add_argument(
        "--eof-wait",
        type=seconds_or_forever,
        metavar="SECONDS",
        help="how long to wait for answers after the end of the input, or 'forever' (default: 1; with "
        "--max-messages, until they have arrived; in a terminal, 0)",
    )
    ending.add_argument(
        "--close-code",
        type=close_code,
        default=1000,
        metavar="N",
        help="close with this code (default: 1000)",
    )
    ending.add_argument(
        "--close-reason", type=close_reason, default="", metavar="TEXT", help="and this reason"
    )

    _add_connection(parser, connect=True)


def check_connection(arguments: argparse.Namespace) -> None:
    """Refuse what makes no sense together.

    :raises SystemExit: it doesn't
    """
    if arguments.key is not None and arguments.cert is None:
        arguments.usage_error("argument --key: not without --cert")


def check_connect(arguments: argparse.Namespace) -> None:
    """Refuse what makes no sense together, of the arguments of ``connect``.

    :raises SystemExit: it doesn't
    """
    check_connection(arguments)
    for times in ("timings", "timestamps"):
        for shape in ("raw", "json"):
            if getattr(arguments, times) and getattr(arguments, shape):
                arguments.usage_error(f"argument --{times}: not allowed with argument --{shape}")
    if arguments.raw and arguments.null:
        arguments.usage_error("argument -0/--null: not allowed with argument -r/--raw")


def describe_ping(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``ping``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = USAGE
    parser.description, parser.epilog = PING, PING_EXAMPLES
    _add_url(parser)

    pinging = parser.add_argument_group("pinging")
    pinging.add_argument(
        "-c", "--count", type=count, metavar="N", help="end after so many pings (default: never)"
    )
    pinging.add_argument(
        *("-i", "--interval"),
        type=not_negative,
        default=1.0,
        metavar="SECONDS",
        help="from one ping to the next, which waits for the answer in any case (default: 1)",
    )
    pinging.add_argument(
        *("-W", "--timeout"),
        type=positive,
        default=10.0,
        metavar="SECONDS",
        help="after which a ping is lost (default: 10)",
    )
    pinging.add_argument(
        *("-s", "--size"),
        type=ping_size,
        default=32,
        metavar="BYTES",
        help="that a ping carries, random ones, at most 125 (default: 32)",
    )
    pinging.add_argument("-q", "--quiet", action="store_true", help="show the summary only")
    pinging.add_argument(
        "--backend",
        choices=("asyncio", "trio"),
        default="asyncio",
        help="what to run on (default: asyncio)",
    )
    pinging.add_argument("--uvloop", action="store_true", help="run asyncio on uvloop")
    _add_verbose(pinging.add_argument, "-v for the handshake;")

    _add_connection(parser)


def _add_url(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="ws:// or wss://, as in wss://example.org/feed")


def _add_verbose(add_argument: Callable[..., object], once: str) -> None:
    add_argument(
        *("-v", "--verbose"),
        action="count",
        default=0,
        help=f"{once} -vv for each frame; on the standard error, credentials left out",
    )


def _add_connection(parser: argparse.ArgumentParser, *, connect: bool = False) -> None:
    """Add what says how to connect, for the command of that name or another."""
    group = parser.add_argument_group("the connection")
    group.add_argument(
        *(["-s"] if connect else []),
        "--subprotocol",
        action="append",
        metavar="NAME",
        help="offer this subprotocol; may be repeated, the best first",
    )
    group.add_argument("-o", "--origin", help="send this Origin header (default: none)")
    group.add_argument(
        *("-H", "--header"),
        type=header,
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="send this header; may be repeated",
    )
    group.add_argument(
        "--cookie",
        type=cookie,
        action="append",
        metavar="NAME=VALUE",
        help="send this cookie; may be repeated",
    )
    group.add_argument(
        *("-u", "--user"),
        metavar="NAME[:PASSWORD]",
        help="authenticate (HTTP Basic); in a terminal you are asked for a password that is left out, which "
        "keeps it out of the list of processes",
    )
    group.add_argument(
        *("-p", "--proxy"),
        type=proxy,
        metavar="URL",
        help="connect through this proxy: http://, https://, socks4://, socks4a://, socks5://, socks5h://; "
        "or 'none' (default: as the environment and the system say)",
    )
    group.add_argument(
        "--unix", metavar="PATH", help="connect to this Unix socket; URL is only what is asked for"
    )
    group.add_argument(
        "--no-compression", action="store_true", help="don't offer to compress messages"
    )
    group.add_argument(
        "--max-size",
        type=amount,
        metavar="BYTES",
        help="that a message may have which arrives; 0 for no limit (default: 1048576)",
    )
    group.add_argument(
        "--open-timeout",
        type=not_negative,
        metavar="SECONDS",
        help="to connect in, handshake included; 0 for no limit (default: 10)",
    )
    group.add_argument(
        "--close-timeout",
        type=positive,
        metavar="SECONDS",
        help="for the server's part in closing (default: 10)",
    )
    group.add_argument(
        "--ping-interval",
        type=not_negative,
        metavar="SECONDS",
        help="of silence after which the server is pinged, by itself; 0 for never (default: 20; for the "
        "command ping, never)",
    )
    group.add_argument(
        "--ping-timeout",
        type=not_negative,
        metavar="SECONDS",
        help="of further silence after which the connection has failed; 0 for no limit (default: 20)",
    )
    if connect:
        group.add_argument(
            "--reconnect",
            action="store_true",
            help="connect again whenever the connection ends or can't be opened, after pauses that grow to a "
            "minute, and send --text again; not after what stays as it is, like 401, 404 or 1008",
        )

    tls = parser.add_argument_group("TLS (wss://)")
    tls.add_argument(
        *("-k", "--insecure"),
        action="store_true",
        help="don't check the server's certificate: anybody could be at the other end",
    )
    tls.add_argument(
        "--ca",
        metavar="FILE",
        help="trust the authorities in this file, in PEM, and no others",
    )
    tls.add_argument("--cert", metavar="FILE", help="a certificate of our own, in PEM")
    tls.add_argument("--key", metavar="FILE", help="its private key, if it is in another file")
    tls.add_argument(
        "--server-name",
        metavar="NAME",
        help="to check the certificate against, instead of the URL's host",
    )
