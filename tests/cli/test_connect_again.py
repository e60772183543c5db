"""``anyio-ws connect --reconnect``, with servers that go away and come back."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from anyio_ws import Request, Response, WebSocket

from .helpers import PATIENCE, PYTHON, echo, running, served

RECONNECT = [*PYTHON, "-m", "anyio_ws", "connect", "--reconnect"]


@contextmanager
def reconnecting(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with running(
        *(*RECONNECT, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        yield process


def test_another_connection_follows_one_that_ends_and_the_first_texts_are_sent_again() -> None:
    received = []

    async def leave(ws: WebSocket) -> None:
        received.append(await ws.receive())
        await ws.send(f"number {len(received)}")
        await ws.aclose([1000, 1001, 1011][len(received) - 1])

    with served(leave) as url:
        arguments = ["--no-input", "-t", "subscribe", "--max-messages", "3"]
        with reconnecting(url, *arguments) as process:
            out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, "number 1\nnumber 2\nnumber 3\n")
    assert received == 3 * ["subscribe"]
    again = r"\* the server closed the connection: (\d+) .*; connecting again in \d\.\d seconds"
    assert [found[1] for line in err.splitlines() if (found := re.fullmatch(again, line))] == [
        "1000",
        "1001",
    ]


def test_a_server_that_comes_back_is_found_and_lines_go_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"ws://127.0.0.1:{port}"
    serve = [*PYTHON, "-m", "anyio_ws", "serve", "--echo", "--port", str(port)]
    with reconnecting(url) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline().startswith(
            f"* can't connect to 127.0.0.1:{port}: Connection refused; connecting again in "
        )
        for line in "one\n", "two\n":
            process.stdin.write(line)
            process.stdin.flush()
            with running(*serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
                assert process.stdout.readline() == line
                server.terminate()
                server.wait(PATIENCE)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert "Traceback" not in process.stderr.read()


def test_what_stays_as_it_is_ends_it() -> None:
    async def say_no(ws: WebSocket, request: Request) -> Response:
        return Response.text(401, "no")

    async def refuse(ws: WebSocket) -> None:
        await ws.aclose(1008, "not you")

    with served(echo, process_request=say_no) as url:
        with reconnecting(url) as process:
            _, err = process.communicate(timeout=PATIENCE)
            assert process.returncode == 4
    assert err == "anyio-ws connect: server answered HTTP 401 Unauthorized instead of 101: 'no'\n"
    with served(refuse) as url:
        with reconnecting(url, "--no-input") as process:
            _, err = process.communicate(timeout=PATIENCE)
            assert process.returncode == 1
    assert err == (
        "anyio-ws connect: the server closed the connection: 1008 (policy violation) not you\n"
    )
    with reconnecting("http://x") as process:
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 2
    assert err.endswith("ws+unix or wss+unix\n")


def test_the_end_of_the_input_ends_it() -> None:
    with served(echo) as url:
        with reconnecting(url, "--json", "--eof-wait", "0.5") as process:
            out, err = process.communicate("hello\n", timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["open", "text", "close"]


def test_the_prompt_stays_while_there_is_no_connection(tmp_path: Path) -> None:
    pytest.importorskip("termios")
    from .terminal import CTRL_C, CTRL_D, in_terminal

    received = []

    async def leave(ws: WebSocket) -> None:
        received.append(await ws.receive())
        if len(received) < 2:
            return
        await ws.wait_closed()

    environment = {"XDG_STATE_HOME": str(tmp_path)}
    with served(leave) as url:
        with in_terminal(*RECONNECT, url, environment=environment) as terminal:
            terminal.wait_for(">")
            terminal.type("one\rtwo")
            terminal.wait_for_text("connecting again")
            terminal.wait_for("> two")
            terminal.type("\r")
            terminal.wait_for("> two", ">")
            while terminal.output.count("* connected to") < 2:
                terminal.wait_for_more()
            terminal.type(CTRL_D)
            assert terminal.ended() == 0
    assert received == ["one", "two"]
    for key, code in (CTRL_D, 0), (CTRL_C, 130):
        with served(leave) as url:
            received.clear()
            with in_terminal(*RECONNECT, url, environment=environment) as terminal:
                terminal.wait_for(">")
                terminal.type("one\r")
                terminal.wait_for_text("connecting again")
                terminal.type("two\r")
                terminal.type(key)
                assert terminal.ended() == code
            assert "not sent: 1 of the lines that were typed" in terminal.output
            assert "Traceback" not in terminal.output
