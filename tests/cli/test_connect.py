"""``anyio-ws connect`` in pipes and with files, run the way a user runs it: as a process."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import anyio
import pytest
import trustme

from anyio_ws import Request, Response, WebSocket, basic_auth
from anyio_ws.__main__ import main
from anyio_ws.cli import parser
from anyio_ws.cli.reaching import Target
from anyio_ws.sansio import ServerProtocol

from .helpers import ENVIRONMENT, PATIENCE, PYTHON, ROOT, echo, run, running, served, without

CONNECT = [*PYTHON, "-m", "anyio_ws", "connect"]


def connect(
    *arguments: str,
    input: bytes = b"",
    stdin: int | IO[bytes] | None = None,
    command: list[str] = CONNECT,
) -> subprocess.CompletedProcess[bytes]:
    """Run the command until it ends by itself, with *input* in a pipe."""
    given: dict[str, Any] = {"input": input} if stdin is None else {"stdin": stdin}
    return subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        timeout=PATIENCE,
        **given,
    )


def shown(*arguments: str, **options: Any) -> bytes:
    """What it writes, if that goes well and quietly."""
    ended = connect(*arguments, **options)
    assert (ended.returncode, ended.stderr) == (0, b"")
    return ended.stdout


def failed(code: int, *arguments: str, **options: Any) -> str:
    """What it complains of in a line, before it ends with *code*; it writes nothing else."""
    ended = connect(*arguments, **options)
    said = ended.stderr.decode()
    assert (ended.returncode, ended.stdout) == (code, b""), said
    prefix = "anyio-ws connect: "
    assert said.startswith(prefix), said
    assert said.count("\n") == 1, said
    return said.removeprefix(prefix).strip()


@pytest.fixture
def url() -> Iterator[str]:
    """Where every message is sent back."""
    with served(echo) as url:
        yield url


def sending(*messages: str | bytes) -> Any:
    """A handler that sends messages and closes."""

    async def send(ws: WebSocket) -> None:
        for message in messages:
            await ws.send(message)

    return send


# -- lines in, messages out


def test_each_line_is_sent_and_each_message_is_a_line(url: str) -> None:
    assert (
        shown(url, "--max-messages", "3", input="one\n\ngrün".encode()) == "one\n\ngrün\n".encode()
    )


def test_answers_are_waited_for_after_the_end_of_the_input(url: str) -> None:
    async def think(ws: WebSocket) -> None:
        async for message in ws:
            await anyio.sleep(0.1)
            await ws.send(message)

    with served(think) as slow:
        assert shown(slow, input=b"hello\n") == b"hello\n"
    begun = time.monotonic()
    assert shown(url, "--eof-wait", "0", "--no-history", input=b"") == b""
    assert shown(url, "--eof-wait", "3", input=b"hello\n") == b"hello\n"
    assert time.monotonic() - begun > 3


def test_what_arrives_until_the_servers_close_frame_is_shown() -> None:
    async def finish(ws: WebSocket) -> None:
        await ws.send("first")
        async for _ in ws:
            pass

    # Five megabytes are on their way when the client says goodbye.
    async def flood(ws: WebSocket) -> None:
        assert await ws.receive() == "go"
        for _ in range(80):
            await ws.send(bytes(2**16))

    with served(finish) as url:
        assert shown(url, "--eof-wait", "0.5") == b"first\n"
    with served(flood) as url:
        ended = connect(url, "--raw", "--eof-wait", "forever", input=b"go\n")
        assert (ended.returncode, len(ended.stdout)) == (0, 80 * 2**16)


def test_the_server_may_end_it() -> None:
    with served(sending("one", "two")) as url:
        with running(*CONNECT, url, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.read() == "one\ntwo\n"  # though the input isn't over
            assert process.wait(PATIENCE) == 0
            process.stdin.close()


def test_messages_are_written_as_they_come(url: str) -> None:
    with running(*CONNECT, url, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in "one\n", "two\n":
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == line
        process.stdin.close()
        assert process.wait(PATIENCE) == 0


def test_the_input_may_be_a_file_or_nothing(url: str, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"one\ntwo\n")
    with file.open("rb") as stdin:
        assert shown(url, "--max-messages", "2", stdin=stdin) == b"one\ntwo\n"
    assert (
        shown(url, "--text", "hello", "--max-messages", "1", stdin=subprocess.DEVNULL) == b"hello\n"
    )
    with open(tmp_path / "out", "wb") as out:
        ended = subprocess.run(
            [*CONNECT, url, "--eof-wait", "1"],
            input=b"hello\n",
            stdout=out,
            env=ENVIRONMENT,
            timeout=PATIENCE,
        )
    assert ended.returncode == 0
    assert (tmp_path / "out").read_bytes() == b"hello\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_matter(url: str, closed: str) -> None:
    command = [*CONNECT, url, "--text", "hello", "--max-messages", "1"]
    ended = run("sh", "-c", f'"$@" {closed}', "sh", *command)
    expected = "" if ">&- " in f"{closed} ".replace("2>&-", "") else "hello\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, expected, "")


def test_input_that_cannot_be_read_is_told_in_one_line(url: str, tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as stdin:
        assert failed(2, url, stdin=stdin) == "can't read the input: Bad file descriptor"


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    closed = []

    async def tick(ws: WebSocket) -> None:
        while True:
            await ws.send("tick")
            with anyio.move_on_after(0.05):
                await ws.wait_closed()
                closed.append(ws.close_code)
                return

    with served(tick) as url:
        with running(
            *(*CONNECT, url), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "tick\n"
            process.stdout.close()
            assert process.stderr.read() == ""
            assert process.wait(PATIENCE) == 0
    assert closed == [1000]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_output_that_cannot_be_written_is_told_in_one_line(url: str) -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [*CONNECT, url, "--text", "hello"],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            timeout=PATIENCE,
        )
    assert ended.returncode == 1
    assert ended.stderr == b"anyio-ws connect: can't write the output: No space left on device\n"


def test_a_reader_that_is_slow_does_not_make_it_deaf() -> None:
    pinged = threading.Event()

    async def flood(ws: WebSocket) -> None:
        await ws.send("x" * 2**18)  # more than a pipe holds
        await ws.ping()
        pinged.set()
        await ws.wait_closed()

    with served(flood) as url:
        with running(*CONNECT, url, "--no-input", stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.read(1) == "x"
            assert pinged.wait(PATIENCE)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 143


# -- what is sent, and how it is shown


def test_lines_may_be_binary_or_hexadecimal(url: str) -> None:
    assert shown(url, "--binary", "--max-messages", "1", input=b"\xff\x00") == b"ff00\n"
    assert shown(url, "--hex", "--max-messages", "2", input=b"00 ff\nAB\n") == b"00ff\nab\n"
    assert (
        shown(url, "--raw", "--hex", "--max-messages", "2", input=b"00 ff\nAB\n") == b"\0\xff\xab"
    )


def test_input_that_cannot_be_sent_is_told_with_its_line(url: str) -> None:
    assert failed(2, url, "--eof-wait", "0", "--hex", input=b"00\nxy\n").startswith(
        "line 2 of the input: these aren't hex"
    )
    assert failed(2, url, input=b"\xff\n").startswith("line 1 of the input: this isn't UTF-8")


def test_messages_may_have_line_breaks_if_zero_bytes_separate_them(url: str) -> None:
    assert shown(url, "-0", "--max-messages", "2", input=b"{\n}\0two") == b"{\n}\0two\0"


def test_texts_of_the_command_line_go_first(url: str) -> None:
    arguments = ["-t", "one", "--text", "two", "--max-messages", "3"]
    assert shown(url, *arguments, input=b"three\n") == b"one\ntwo\nthree\n"


def test_input_is_left_alone_if_it_is_not_wanted(url: str) -> None:
    with served(sending("one")) as other:
        assert shown(other, "--no-input", input=b"two\n") == b"one\n"
    read, write = os.pipe()
    try:
        os.write(write, b"mine\n")
        assert shown(url, "--no-input", "-t", "x", "--max-messages", "1", stdin=read) == b"x\n"
        assert os.read(read, 100) == b"mine\n"
    finally:
        os.close(read)
        os.close(write)


def test_times_may_stand_before_messages() -> None:
    with served(sending("one", "two")) as url:
        for line in shown(url, "--timings").decode().splitlines():
            elapsed, since, text = line.split()
            assert 0 <= float(elapsed) < PATIENCE
            assert since[0] == "+"
            assert float(since) <= float(elapsed)
            assert text in ("one", "two")
        (line, _) = shown(url, "--timestamps").decode().splitlines()
        assert line.startswith(time.strftime("%Y-"))
        assert line.endswith(" one")


def test_json_tells_all_that_happens() -> None:
    async def talk(ws: WebSocket) -> None:
        await ws.receive()
        await ws.ping("1")
        await ws.send_pong("2")
        await ws.send("a\nb")
        await ws.send(b"\xff")
        await ws.aclose(4000, "enough")

    with served(talk, subprotocols=["chat"]) as url:
        ended = connect(url, "--json", "-s", "other", "--subprotocol", "chat", "-t", "go")
    assert ended.returncode == 1
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    for one in found:
        assert one.pop("time") > 1e9
        assert one.pop("elapsed") >= 0
    assert found == [
        {"event": "open", "url": url, "subprotocol": "chat"},
        {"event": "ping", "base64": "MQ=="},
        {"event": "pong", "base64": "Mg=="},
        {"event": "text", "data": "a\nb"},
        {"event": "binary", "base64": "/w=="},
        {"event": "close", "code": 4000, "reason": "enough"},
    ]


def test_compressed_messages_may_be_unpacked() -> None:
    with served(sending(gzip.compress(b"hello"))) as url:
        assert shown(url, "--decompress") == b"hello\n"


# -- verbose


def test_the_handshake_is_told_without_secrets(url: str) -> None:
    ended = connect(
        *(url, "-v", "-u", "ada:hidden", "--cookie", "s=hidden", "--cookie", "t=hidden"),
        *("-H", "X-Name: seen\x9b", "--text", "hello", "--max-messages", "1"),
    )
    assert (ended.returncode, ended.stdout) == (0, b"hello\n")
    said = ended.stderr.decode()
    assert "hidden" not in said
    lines = said.splitlines()
    assert lines[0] == "> GET / HTTP/1.1"
    assert "> Authorization: [redacted]" in lines
    assert "> X-Name: 'seen\\x9b'" in lines
    assert "< HTTP/1.1 101 Switching Protocols" in lines
    assert lines[-3:] == [
        f"* connected to {url}",
        "* received text, 5 characters",
        "* closed: 1000 (normal closure)",
    ]


def test_every_frame_is_logged_if_that_is_wanted(url: str) -> None:
    ended = connect(url, "-vv", "--text", "hello", "--max-messages", "1")
    assert (ended.returncode, ended.stdout) == (0, b"hello\n")
    said = ended.stderr.decode()
    assert "anyio_ws.client: > TEXT 'hello' [5 bytes]" in said
    assert "anyio_ws.client: < CLOSE 1000 (normal closure)" in said


# -- how it ends


def test_the_code_to_close_with_is_up_to_the_user() -> None:
    closes = []

    async def quiet(ws: WebSocket) -> None:
        await ws.wait_closed()
        closes.append((ws.close_code, ws.close_reason))

    with served(quiet) as url:
        given = ["--close-code", "4001", "--close-reason", "grün"]
        assert shown(url, "--eof-wait", "0", *given) == b""
        assert shown(url, "--eof-wait", "0") == b""
    assert closes == [(4001, "grün"), (1000, "")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_in_order_and_is_told_by_the_exit_code(number: signal.Signals) -> None:
    closes = []

    async def wait(ws: WebSocket) -> None:
        await ws.send("open")
        await ws.wait_closed()
        closes.append(ws.close_code)

    with served(wait) as url:
        with running(
            *(*CONNECT, url), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "open\n"
            process.send_signal(number)
            assert process.wait(PATIENCE) == 128 + number
            assert process.stderr.read() == ""
    assert closes == [1000]


def test_a_second_signal_ends_it_at_once() -> None:
    # A server that neither reads nor closes.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        with running(
            *(*CONNECT, url, "-v", "--no-input"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stderr is not None
            peer, _ = listener.accept()
            with peer:
                shake_hands(peer)
                for line in process.stderr:
                    if "connected" in line:
                        break
                process.send_signal(signal.SIGINT)
                assert peer.recv(2)[0] == 0x88  # Close
                process.send_signal(signal.SIGINT)
                assert process.wait(PATIENCE) == 130
                assert "Traceback" not in process.stderr.read()


def test_ctrl_c_while_connecting_ends_it_quietly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        with running(*CONNECT, url, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                process.send_signal(signal.SIGINT)
                assert process.wait(PATIENCE) == 130
                assert process.stderr.read() == ""


def shake_hands(peer: socket.socket) -> None:
    protocol = ServerProtocol()
    while not (events := protocol.events_received()):
        protocol.receive_data(peer.recv(65536))
    (request,) = events
    assert isinstance(request, Request)
    protocol.send_response(protocol.accept(request))
    peer.sendall(b"".join(protocol.data_to_send()))


def test_a_connection_that_ends_badly_is_told_in_one_line() -> None:
    async def refuse(ws: WebSocket) -> None:
        await ws.aclose(1008, "not \x1byou")

    async def drop(ws: WebSocket) -> None:
        await anyio.aclose_forcefully(ws)

    with served(refuse) as url:
        assert failed(1, url) == (
            r"the server closed the connection: 1008 (policy violation) 'not \x1byou'"
        )
    with served(drop) as url:
        assert failed(1, url, "--no-input").startswith(
            "the connection broke: no close frame received or sent"
        )
    with served(sending("x" * 100)) as url:
        assert "1009 (message too big)" in failed(1, url, "--max-size", "99", "--no-input")
        assert shown(url, "--max-size", "100") == b"x" * 100 + b"\n"
    with served(sending("x" * (2**20 + 1))) as url:
        assert len(shown(url, "--max-size", "0")) == 2**20 + 2


def test_a_server_that_cannot_be_reached_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        silent = failed(3, f"ws://ada:hidden@127.0.0.1:{port}/x", "--open-timeout", "0.3")
    assert silent == f"can't connect to ws://127.0.0.1:{port}/x: it took more than 0.3 seconds"
    gone = failed(3, f"ws://ada:hidden@127.0.0.1:{port}")
    assert gone == f"can't connect to 127.0.0.1:{port}: Connection refused"
    path = str(tmp_path / "no.sock")
    assert failed(3, "ws://localhost/", "--unix", path).startswith(f"can't connect to {path}: ")


async def say_no(ws: WebSocket, request: Request) -> Response:
    return Response.text(404, "nothing\x1bhere")


def test_a_refused_handshake_is_told_in_one_line() -> None:
    with served(echo, process_request=say_no) as url:
        refused = "server answered HTTP 404 Not Found instead of 101: 'nothing\\x1bhere'"
        assert failed(4, url) == refused
        said = connect(url, "-v").stderr.decode()
        assert "< HTTP/1.1 404 Not Found\n" in said
        assert "< nothing\\x1bhere\n" in said
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with running(
            *(*CONNECT, f"ws://127.0.0.1:{listener.getsockname()[1]}"),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")
                assert process.stderr is not None
                said = process.stderr.read()
                assert process.wait(PATIENCE) == 4
    assert said.startswith("anyio-ws connect: the handshake failed: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "the following arguments are required: URL"),
        (["ws://x", "--raw", "--json"], "argument --json: not allowed with argument -r/--raw"),
        (["ws://x", "--raw", "--timings"], "argument --timings: not allowed with argument --raw"),
        (
            ["ws://x", "--json", "--timestamps"],
            "argument --timestamps: not allowed with argument --json",
        ),
        (["ws://x", "--raw", "--null"], "argument -0/--null: not allowed with argument -r/--raw"),
        (["ws://x", "--hex", "--binary"], "argument --binary: not allowed with argument --hex"),
        (["ws://x", "--max-messages", "0"], "argument --max-messages: must be more than 0"),
        (["ws://x", "--max-size", "-1"], "argument --max-size: "),
        (["ws://x", "--eof-wait", "soon"], "argument --eof-wait: not a number: 'soon'"),
        (["ws://x", "--close-code", "1005"], "argument --close-code: 1005 can't be sent"),
        (["ws://x", "--close-code", "one"], "argument --close-code: not a whole number: 'one'"),
        (
            ["ws://x", "--close-reason", "x" * 124],
            "argument --close-reason: close reason of 124 bytes",
        ),
        (["ws://x", "-H", "name"], "argument -H/--header: not of the form 'Name: value': 'name'"),
        (["ws://x", "--cookie", "name"], "argument --cookie: not one cookie, of the form NAME="),
        (["ws://x", "-H", "na me: x"], "argument -H/--header: 'na me' isn't a valid header name"),
        (
            ["ws://x", "-p", "x://y"],
            "argument -p/--proxy: 'x://y' is neither 'none' nor a URL of one",
        ),
        (["ws://x", "--key", "file"], "argument --key: not without --cert"),
    ],
)
def test_arguments_that_make_no_sense_are_named(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["connect", *arguments])
    assert caught.value.code == 2
    usage, said = capsys.readouterr().err.splitlines()
    assert usage == "usage: anyio-ws connect [OPTION ...] URL"
    assert said.startswith(f"anyio-ws connect: error: {complaint}")


def test_what_the_library_refuses_is_told_in_one_line(tmp_path: Path) -> None:
    assert failed(2, "http://localhost/").endswith("ws+unix or wss+unix")
    assert failed(2, "ws://localhost/", "-k").startswith("ssl was given, but")
    assert failed(2, "ws://localhost/", "--origin", "a\nb").startswith("header Origin can't have")
    garbage = tmp_path / "garbage"
    garbage.write_text("garbage")
    assert failed(2, "wss://x", "--ca", "nowhere").startswith(
        "can't use the authorities in nowhere"
    )
    assert failed(2, "wss://x", "--ca", str(garbage)).startswith("can't use the authorities")
    assert failed(2, "wss://x", "--cert", "nowhere").startswith(
        "can't use the certificate in nowhere"
    )
    assert failed(2, "ws://x", "--user", "ada") == (
        "argument -u/--user: there is nobody to ask for the password"
    )


# -- how it connects


async def tell_request(ws: WebSocket) -> None:
    await ws.send(json.dumps(list(ws.request.headers.raw_items())))


def test_the_request_is_what_the_user_says() -> None:
    with served(tell_request, origins=["https://example.org"]) as url:
        told = shown(
            *(url, "--origin", "https://example.org", "--cookie", "a=1", "--cookie", "b=2"),
            *("-H", "X-One: 1", "--header", "X-One:2", "-H", "User-Agent: mine"),
            *("--no-compression", "-u", "ada:love:lace"),
        )
        plain = shown(url, "-o", "https://example.org")
    headers = json.loads(told)
    for name, value in {
        "Origin": "https://example.org",
        "Cookie": "a=1; b=2",
        "Authorization": "Basic YWRhOmxvdmU6bGFjZQ==",
        "User-Agent": "mine",
    }.items():
        assert [value] == [given for key, given in headers if key.lower() == name.lower()]
    assert [value for key, value in headers if key == "X-One"] == ["1", "2"]
    assert "Sec-WebSocket-Extensions" not in dict(headers)
    assert "Sec-WebSocket-Extensions" in dict(json.loads(plain))


def test_a_user_is_authenticated() -> None:
    with served(echo, process_request=basic_auth("here", ("ada", "love"))) as url:
        arguments = ["-t", "hello", "--max-messages", "1"]
        assert shown(url, "--user", "ada:love", *arguments) == b"hello\n"
        assert "401" in failed(4, url, "--user", "ada:hate")


def test_a_unix_socket_is_connected_to(tmp_path: Path) -> None:
    path = str(tmp_path / "echo.sock")
    serve = [*PYTHON, "-m", "anyio_ws", "serve", "--echo", "--unix", path]
    with running(*serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        server.stdout.readline()
        assert shown("ws://localhost/", "--unix", path, "-t", "x", "--max-messages", "1") == b"x\n"
        server.terminate()
        server.wait(PATIENCE)


def test_the_certificate_is_checked_as_the_user_says(
    ca: trustme.CA, server_ssl_context: ssl.SSLContext, tmp_path: Path
) -> None:
    trusted = str(tmp_path / "ca.pem")
    ca.cert_pem.write_to_path(trusted)
    arguments = ["-t", "hello", "--max-messages", "1"]
    with served(echo, ssl=server_ssl_context) as url:
        assert failed(3, url).endswith("if you trust it, name its file with --ca)")
        assert shown(url, "--insecure", *arguments) == b"hello\n"
        assert shown(url, "--ca", trusted, *arguments) == b"hello\n"
        assert shown(url, "--ca", trusted, "--server-name", "localhost", *arguments) == b"hello\n"
        assert "certificate" in failed(3, url, "--ca", trusted, "--server-name", "example.org")


def test_a_certificate_of_ours_is_shown_to_the_server(ca: trustme.CA, tmp_path: Path) -> None:
    trusted, cert, key, both = (str(tmp_path / name) for name in ("ca", "cert", "key", "both"))
    ours = ca.issue_cert("ada@example.org")
    ca.cert_pem.write_to_path(trusted)
    ours.cert_chain_pems[0].write_to_path(cert)
    ours.private_key_pem.write_to_path(key)
    ours.private_key_and_cert_chain_pem.write_to_path(both)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    arguments = ["--ca", trusted, "-t", "hello", "--max-messages", "1"]
    with served(echo, ssl=context) as url:
        assert shown(url, "--cert", cert, "--key", key, *arguments) == b"hello\n"
        assert shown(url, "--cert", both, *arguments) == b"hello\n"
        assert connect(url, *arguments).returncode in (1, 3)  # TLS 1.3 says it after the handshake


@pytest.mark.parametrize("given", ["http://ada:love@localhost:3128", "socks5h://localhost", "none"])
def test_a_proxy_is_an_option_of_the_connection(given: str) -> None:
    for command in "connect", "ping":
        arguments = parser().parse_args([command, "ws://x", "--proxy", given])
        assert Target.of(arguments).options["proxy"] == (None if given == "none" else given)
        arguments = parser().parse_args([command, "ws://x"])
        assert "proxy" not in Target.of(arguments).options


def test_who_has_enough_does_not_care_how_the_server_ends_it() -> None:
    async def crash(ws: WebSocket) -> None:
        await ws.send("all there is")
        await ws.aclose(1011)

    with served(crash) as url:
        assert shown(url, "--max-messages", "1") == b"all there is\n"
        ended = connect(url, "--no-input")
    assert (ended.returncode, ended.stdout) == (1, b"all there is\n")
    assert ended.stderr.endswith(b"the server closed the connection: 1011 (internal error)\n")


def test_a_silent_server_is_pinged_and_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        arguments = ["--ping-interval", "0.1", "--ping-timeout", "0.1", "--close-timeout", "0.1"]
        with running(*(*CONNECT, url, "--no-input", *arguments), stderr=subprocess.PIPE) as process:
            peer, _ = listener.accept()
            with peer:
                shake_hands(peer)
                assert process.stderr is not None
                assert "the connection broke: " in process.stderr.read()
                assert process.wait(PATIENCE) == 1


@pytest.mark.parametrize("module", ["prompt_toolkit", "trio"])
def test_a_pipe_takes_nothing_that_has_to_be_installed(url: str, module: str) -> None:
    command = [*without(module), "connect"]
    assert shown(url, "--max-messages", "1", input=b"hello\n", command=command) == b"hello\n"
