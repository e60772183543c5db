"""Every code sample of the documentation runs, on both backends; README shows pieces of them."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import anyio
import pytest

from . import tables

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "docs" / "samples"

# What each sample prints.
PRINTS = {
    "asyncio_application": "0\n1\nstopped\n",
    "asyncio_protocol": "my own I/O\nhello\n1000 that is all\n",
    "blocking_client": "600\nbye\n",
    "client_certificates": "hello ada\nnobody is turned away\n",
    "client_signals": "one\n['1001 the program ends']\n",
    "new_certificate": "replaced: True\nstill here\n",
    "starlette_application": "sent to 1\nb'news'\nclosed with 1001\n",
    "threads": "hello\nnothing more\n",
    "timeouts": "not yet\nthe answer to 'one'\nthat takes too long\n",
    "trio_application": "hello\n",
    "basic_auth": "hello ada\nserver answered HTTP 401 Unauthorized instead of 101: "
    "'A user name and its password are needed.'\n"
    'Basic realm="the staff", charset="UTF-8"\n',
    "bearer_tokens": "hello ada, let us chat\nhello ada, let us chat\n"
    "server answered HTTP 401 Unauthorized instead of 101: 'A valid token is needed.'\n",
    "best_price": "coral is left out: TimeoutError\n101.40 at beryl\n",
    "behind_proxy": "hello 198.51.100.7\nhello 127.0.0.1\n",
    "broken_peers": "no_websocket: InvalidStatus\nsays_nothing: TimeoutError\n"
    "breaks_off: ConnectionClosedError\nby_the_byte: slowly\n",
    "chat": "ada sees ada: hello\nbob sees bob: anybody here?\n"
    "eve sees ada: hello\nada sees eve: hello, ada\n2 messages about tea\n",
    "collect": "/kitchen 21.5\n/kitchen 21.6\n/kitchen is gone: 1000\n"
    "/attic 14.0\n/attic is gone: 1000\nthat was all\n",
    "compression": "permessage-deflate; server_max_window_bits=15; client_max_window_bits=10\nTrue\nTrue\n",
    "connect_errors": "no URL: the port isn't a number from 0 to 65535\n"
    "no connection: ConnectionRefusedError\nrefused: 403 b'not for you'\ntoo late\nhello\n",
    "cookie_jar": "True\n" + 3 * "/feed for session=5f2a\n",
    "echo": "hello\n",
    "end_to_end_tls": "the secret of ada\n",
    "failing_handler": "closed with 1011\n12.5\n",
    "fan_in": "spread 0.5\n",
    "first_message": "hello ada\nreceived 1008 (policy violation) a valid token was expected; "
    "then sent 1008 (policy violation) a valid token was expected\n",
    "forever": "serving\nended by SIGTERM\n",
    "give_up_sending": "given up: True\nas many as were sent: True\n",
    "fragment_events": "Fragment(data='in two ', final=False)\n"
    "Ping(data=b'still here')\n"
    "Fragment(data='parts', final=False)\n"
    "Fragment(data='', final=True)\n"
    "Closed(code=1000, reason='')\n",
    "graceful": "hello\nSIGTERM, 1 connections\nplease leave\nended\n",
    "handler_errors": "client: received 1011 (internal error); then sent 1011 (internal error)\n"
    "12.5\n"
    "failed: ['/1: division by zero']\n"
    "client: received 1011 (internal error); then sent 1011 (internal error)\n"
    "the server ended: division by zero\n",
    "hooks": "this sample True\n410 That is gone.\n200 fine\n404 There are only WebSockets here.\n"
    "410 That is gone.\n",
    "in_memory": "you asked for /prices\nyou asked for /any/path\na bug in the handler\n"
    "the client: received 1011 (internal error); then sent 1011 (internal error)\n",
    "json_logs": "ERROR connection handler failed\nRuntimeError: a bug\nTrue 36\n",
    "json_messages": "Trade(symbol='EURUSD', price=1.0953)\n"
    '{"symbol":"EURUSD","price":"unknown"} is '
    "not the JSON that was expected: Expected `float`, got `str` - at `$.price`\n"
    "1.0954\n",
    "lifecycle_events": "connecting\nreceived hello\nthe server closes: 1012 restarting\nin order\n"
    "again in 0 seconds\nconnecting\n",
    "listeners": "over TCP\nhere\n",
    "listen": "you said 'hello'\nb'and this is binary'\n",
    "lobby": "ada hears 'the other had 9'\nbob hears 'you win'\n"
    "eve hears 'you win'\njoe hears 'the other had 3'\n",
    "messages": "b'hello ada'\nand goodbye\nno text, but here it is: b'\\xff\\xfe'\n",
    "metrics_pusher": "3 samples, in order: True\nthat is enough\n",
    "metrics": "ws_connection_seconds_count 1.0\n"
    "ws_opened_total 1.0\nws_messages_received_total 1.0\nws_messages_sent_total 1.0\n",
    "mounted": "hello 1\n",
    "only_send": "tick\nthe client has left\n",
    "origins_and_hosts": "hello https://app.example.org\nhello program\n"
    "server answered HTTP 403 Forbidden instead of 101: "
    "\"Failed to open a WebSocket connection: origin 'https://evil.example' isn't accepted.\"\n"
    "server answered HTTP 421 Misdirected Request instead of 101: "
    '"This server doesn\'t answer for that host."\n',
    "own_socket": "feed.internal\n-1\nTrue\n",
    "private_authority": "hello\nIP address mismatch, certificate is not valid for '127.0.0.1'; "
    "it is for 'feed.internal'\n",
    "own_io": "TEXT b'hello'\nCLOSE b'\\x03\\xe8that is all'\nCLOSED 1000 that is all\n",
    "proxies": "hello\n407 ask the boss\n",
    "service": "serving\nhello\nended by SIGTERM\nclosed with 1001\n",
    "own_broker": "following\nfrom somewhere else\n",
    "poll": "in three parts\n",
    "own_policy": "welcome after 2\nlogged in elsewhere: in another tab\n"
    "given up: 4001 (private use) in another tab\n",
    "reconnecting": "one\ntwo\nthree\n",
    "raw_frames": "1002 (protocol error) reserved opcode 0x3\n"
    "1002 (protocol error) PING frame of 126 bytes or more exceeds the limit of 125\n"
    "1007 (invalid data) text isn't UTF-8: invalid start byte, byte 0xff\n",
    "routes": "/ welcome\n/rooms/caf%C3%A9?since=5 this is café\n/files/logs/today you follow logs/today\n"
    "/rooms 404\n/admin/users/ada 401\nroot watches ada\n",
    "task_group": "HELLO\n",
    "ticker": "welcome welcome\nsent to 2\nsent to 2\nABC 101.5 XYZ 7.25\nABC 101.5 XYZ 7.25\n",
    "tls_server": "wss\nyou used 127.0.0.1\n",
    "trace": "> GET /feed HTTP/1.1\n> Upgrade: websocket\n> Connection: Upgrade\n"
    "> Authorization: [redacted]\n> User-Agent: anyio-ws\n"
    "< HTTP/1.1 101 Switching Protocols\n< Upgrade: websocket\n< Connection: Upgrade\n"
    "< Server: anyio-ws\n"
    "> TEXT 'hello' [5 bytes]\n< TEXT 'hello' [5 bytes]\n"
    "> CLOSE 1000 (normal closure) [2 bytes]\n< CLOSE 1000 (normal closure) [2 bytes]\n",
    "tunnel": "IS ANYBODY THERE?\n",
    "unix_socket": "hello\n",
    "your_exception": "out of range: 999\ncancelled: True\n"
    "and the block goes on\nleft without an error\n",
}


# Samples for one of the backends only.
OF_ONE_BACKEND = {
    "asyncio_application": "asyncio",
    "asyncio_protocol": "asyncio",
    "starlette_application": "asyncio",
    "trio_application": "trio",
}
EVERY_BACKEND = """
import pytest

@pytest.fixture(params=["asyncio", ("asyncio", {"use_uvloop": True}), "trio"])
def anyio_backend(request):
    return request.param
"""


# What README calls those who are measured, and how that is called where the figures come from.
MEASURED = {
    "anyio_ws": ("anyio_ws, asyncio", "anyio_ws, trio"),
    "websockets, asyncio": ("websockets, asyncio",),
    "websockets, trio": ("websockets, trio",),
    "trio-websocket": ("trio-websocket, trio",),
    "httpx-ws": ("httpx-ws, asyncio", "httpx-ws, trio"),
}


def readme_samples() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)


@pytest.mark.parametrize(
    ("sample", "backend"),
    [
        (sample, backend)
        for sample in sorted(path.stem for path in SAMPLES.glob("*.py"))
        for backend in ("asyncio", "trio")
        if OF_ONE_BACKEND.get(sample, backend) == backend
    ],
)
def test_sample_prints_what_it_should(
    sample: str, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(SAMPLES / f"{sample}.py"))["main"]
    anyio.run(main, backend=backend)
    assert capsys.readouterr().out == PRINTS[sample]


def test_the_tests_of_the_example_application_pass(pytester: pytest.Pytester) -> None:
    files = SAMPLES.joinpath("prices").glob("*.py")
    pytester.makepyfile(**{path.stem: path.read_text() for path in files})
    pytester.makeconftest(EVERY_BACKEND)
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\nfilterwarnings = ["error"]\n')
    result = pytester.runpytest_subprocess("-p", "anyio_ws_pytest", "-p", "no:randomly")
    result.assert_outcomes(passed=3 * 7 - 3, skipped=3)  # uvloop has no virtual time


def test_every_sample_is_shown_by_a_page() -> None:
    pages = [path.read_text() for path in ROOT.joinpath("docs").rglob("*.rst")]
    name = r"^\.\. literalinclude:: .*samples/([\w/]+)\.py$"
    shown = set(re.findall(name, "\n".join(pages), re.M))
    samples = (path.relative_to(SAMPLES).with_suffix("") for path in SAMPLES.rglob("*.py"))
    assert shown == {path.as_posix() for path in samples}


def test_the_tables_name_tests_that_exist() -> None:
    named = {name for row in tables.rows() for name in tables.tests_of(row)}
    assert len(named) > 200
    assert [name for name in sorted(named) if not tables.is_test(name)] == []


def test_every_row_of_the_tables_names_a_test() -> None:
    assert [row for row in tables.rows() if not tables.tests_of(row)] == []


def test_the_tables_name_what_there_is_here() -> None:
    unknown = {name: row for row in tables.rows() for name in tables.unknown_names(row)}
    assert unknown == {}


def test_a_name_that_is_not_here_is_seen() -> None:
    cell = "`open_websocket`, `receive_soon`, ``ws.latency``, ``ws.laziness``, ``open_time=``, ``--gex``"
    row = tables.Row("a page", "anyio_ws", ["", cell, ""])
    assert tables.unknown_names(row) == ["receive_soon", "ws.laziness", "open_time", "--gex"]
    assert not tables.is_test("test_docs.py::test_nothing")


def test_readme_shows_pieces_of_samples_that_run() -> None:
    samples = [path.read_text() for path in SAMPLES.glob("*.py")]
    blocks = readme_samples()
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})  # its imports must work
        body = ast.parse(block).body
        first = next(node for node in body if not isinstance(node, ast.Import | ast.ImportFrom))
        piece = "".join(block.splitlines(keepends=True)[first.lineno - 1 :])
        assert any(piece in sample for sample in samples), piece


def test_readme_has_what_was_measured_of_the_promises() -> None:
    table = (ROOT / "docs" / "promises" / "table.rst").read_text().partition(".. rubric::")[0]
    head, *rows = (
        [cell.strip() for cell in re.split(r"^     - ?", row, flags=re.M)]
        for row in re.split(r"^   \* - ?", table, flags=re.M)[1:]
    )
    expected: list[list[str]] = []
    for row in rows:
        expected.append([])
        for names in MEASURED.values():
            found = {row[head.index(name)] for name in names}
            expected[-1].append("-" if found == {"\\-"} else "✓" if found == {"kept"} else "✗")
    lines = re.findall(r"^\| .*$", (ROOT / "README.md").read_text(), re.M)
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert shown[0][1:] == list(MEASURED)
    assert len(rows) == 10
    assert [row[1:] for row in shown[1:]] == expected


@pytest.mark.parametrize("marker", ["demo command", "test command"])
def test_readme_marks_its_command(marker: str) -> None:
    """The checks of a change read the two commands from README, by these markers."""
    block = rf"^<!-- {marker} -->\n```\w*\npython3 -m venv [^\n]+\n```$"
    assert len(re.findall(block, (ROOT / "README.md").read_text(), re.M)) == 1
