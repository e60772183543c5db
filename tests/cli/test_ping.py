"""``anyio-ws ping``, run the way a user runs it: as a process."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess

import anyio
import pytest
import trustme

from anyio_ws import Request, Response, WebSocket
from anyio_ws.__main__ import main
from anyio_ws.cli.ping import summary

from .helpers import PATIENCE, PYTHON, echo, run, run_without, running, served

PING = [*PYTHON, "-m", "anyio_ws", "ping"]

ON = {"asyncio": [], "uvloop": ["--uvloop"], "trio": ["--backend", "trio"]}

LATENCY = r"latency min/avg/max/stddev = [\d.]+/[\d.]+/[\d.]+/[\d.]+ ms"


def failed(code: int, *arguments: str) -> str:
    """What it complains of in a line, before it ends with *code*; it writes nothing else."""
    ended = run(*PING, *arguments)
    assert (ended.returncode, ended.stdout) == (code, ""), ended.stderr
    prefix = "anyio-ws ping: "
    assert ended.stderr.startswith(prefix)
    assert ended.stderr.count("\n") == 1
    return ended.stderr.removeprefix(prefix).strip()


@pytest.mark.parametrize("backend", ON)
def test_each_pong_is_a_line_and_the_end_a_summary(backend: str) -> None:
    with served(echo) as url:
        ended = run(*PING, url, "--count", "3", "--interval", "0.05", *ON[backend])
    assert (ended.returncode, ended.stderr) == (0, "")
    first, *pongs, empty, title, counts, latency = ended.stdout.splitlines()
    assert re.fullmatch(rf"connected to {url} in [\d.]+ ms", first)
    assert len(pongs) == 3
    for number, pong in enumerate(pongs, 1):
        assert re.fullmatch(rf"pong: seq={number} time=[\d.]+ ms", pong)
    assert (empty, title) == ("", f"--- {url} ping statistics ---")
    assert counts == "3 sent, 3 answered, 0% lost"
    assert re.fullmatch(LATENCY, latency)


def test_the_summary_says_what_was_lost_and_how_long_the_rest_took() -> None:
    assert summary("ws://x", 4, [0.001, 0.002, 0.003]) == [
        "--- ws://x ping statistics ---",
        "4 sent, 3 answered, 25% lost",
        "latency min/avg/max/stddev = 1.000/2.000/3.000/0.816 ms",
    ]
    assert summary("ws://x", 3, [])[1:] == ["3 sent, 0 answered, 100% lost"]
    assert summary("ws://x", 0, [])[1:] == ["0 sent, 0 answered, 0% lost"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("backend", ON)
def test_a_signal_ends_it_with_the_summary(backend: str, number: signal.Signals) -> None:
    with served(echo) as url:
        with running(
            *(*PING, url, *ON[backend]), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            assert process.stdout.readline().startswith("pong: seq=1 ")
            process.send_signal(number)
            said = process.stdout.read()
            assert "1 sent, 1 answered, 0% lost" in said
            assert process.stderr.read() == ""
            assert process.wait(PATIENCE) == 0


def test_pings_that_are_not_answered_are_lost() -> None:
    async def wait(ws: WebSocket) -> None:
        await ws.wait_closed()

    with served(wait, auto_pong=False) as url:
        ended = run(*PING, url, "-c", "2", "-i", "0", "--timeout", "0.1", "--close-timeout", "0.1")
    assert (ended.returncode, ended.stderr) == (1, "")
    assert ended.stdout.splitlines()[1:3] == [
        "no answer: seq=1, not in 0.1 seconds",
        "no answer: seq=2, not in 0.1 seconds",
    ]
    assert ended.stdout.splitlines()[-1] == "2 sent, 0 answered, 100% lost"


def test_one_answer_is_enough_for_success() -> None:
    async def answer_the_second(ws: WebSocket) -> None:
        async with ws.events() as events:
            await events.receive()
            second = await events.receive()
            await ws.send_pong(getattr(second, "data"))  # noqa: B009  # of a Ping
            await ws.wait_closed()

    with served(answer_the_second, auto_pong=False) as url:
        ended = run(*PING, url, "-c", "2", "-i", "0", "-W", "1")
    assert ended.returncode == 0
    assert "2 sent, 1 answered, 50% lost" in ended.stdout


@pytest.mark.parametrize("size", [0, 125])
def test_a_ping_carries_as_many_bytes_as_the_user_says(size: int) -> None:
    sizes = []

    async def measure(ws: WebSocket) -> None:
        async with ws.events() as events:
            async for event in events:
                data = getattr(event, "data", None)
                if data is not None:
                    sizes.append(len(data))

    with served(measure) as url:
        assert run(*PING, url, "-c", "2", "-i", "0", "-q", "--size", str(size)).returncode == 0
    # The first may have come before the events were asked for.
    assert sizes[-1] == size


def test_only_the_summary_is_shown_if_that_is_wanted() -> None:
    with served(echo) as url:
        ended = run(*PING, url, "-c", "1", "--quiet")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(ended.stdout.splitlines()) == 3
    assert ended.stdout.startswith("--- ")


def test_messages_that_arrive_meanwhile_are_dropped() -> None:
    async def flood(ws: WebSocket) -> None:
        while True:
            await ws.send("x" * 1000)

    with served(flood) as url:
        ended = run(*PING, url, "-c", "3", "-i", "0", "-q")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "3 answered" in ended.stdout


def test_a_connection_that_ends_is_told_after_the_summary() -> None:
    async def leave(ws: WebSocket) -> None:
        await anyio.sleep(0.3)
        await ws.aclose(1008, "no more")

    with served(leave) as url:
        ended = run(*PING, url, "-i", "0.05")
    assert ended.returncode == 1
    assert " answered, " in ended.stdout
    assert ended.stderr == (
        "anyio-ws ping: the server closed the connection: 1008 (policy violation) no more\n"
    )


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    with served(echo) as url:
        with running(
            *(*PING, url, "-i", "0.05"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == ""
            assert process.wait(PATIENCE) == 0


async def say_no(ws: WebSocket, request: Request) -> Response:
    return Response.text(404, "nothing here")


def test_a_server_that_cannot_be_connected_to_is_told_in_one_line() -> None:
    with served(echo, process_request=say_no) as url:
        assert failed(4, url) == "server answered HTTP 404 Not Found instead of 101: 'nothing here'"
        said = run(*PING, url, "-v").stderr
        assert "< HTTP/1.1 404 Not Found\n" in said
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert failed(3, f"ws://127.0.0.1:{port}").endswith("Connection refused")
    assert failed(2, "http://127.0.0.1").endswith("ws+unix or wss+unix")


def test_the_connection_is_what_the_user_says(
    ca: trustme.CA, server_ssl_context: ssl.SSLContext
) -> None:
    with served(echo, ssl=server_ssl_context, subprotocols=["chat"]) as url:
        ended = run(*PING, url, "-k", "-c", "1", "--subprotocol", "chat", "-H", "X-A: 1", "-v")
    assert ended.returncode == 0
    assert "> X-A: 1" in ended.stderr.splitlines()
    assert "< Sec-WebSocket-Protocol: chat" in ended.stderr.splitlines()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--count", "0"], "argument -c/--count: must be more than 0"),
        (["--interval", "-1"], "argument -i/--interval: must be 0 or more"),
        (["--timeout", "0"], "argument -W/--timeout: must be more than 0"),
        (["--size", "126"], "argument -s/--size: a ping carries 125 bytes at most"),
        (["--key", "x"], "argument --key: not without --cert"),
        (["--backend", "trio", "--uvloop"], "argument --uvloop: not with the backend trio"),
    ],
)
def test_arguments_that_make_no_sense_are_named(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["ping", "ws://x", *arguments])
    assert caught.value.code == 2
    usage, said = capsys.readouterr().err.splitlines()
    assert usage == "usage: anyio-ws ping [OPTION ...] URL"
    assert said.startswith(f"anyio-ws ping: error: {complaint}")


@pytest.mark.parametrize(
    ("module", "options", "package"),
    [("trio", ["--backend", "trio"], "'anyio-ws[trio]'"), ("uvloop", ["--uvloop"], "uvloop")],
)
def test_one_sentence_tells_how_to_install_what_is_missing(
    module: str, options: list[str], package: str
) -> None:
    ended = run_without(module, "ping", "ws://x", *options)
    assert ended.stderr == f"anyio-ws ping needs {module}: pip install {package}\n"
    assert (ended.returncode, ended.stdout) == (2, "")
