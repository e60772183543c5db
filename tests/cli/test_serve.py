"""``anyio-ws serve``, run the way a user runs it: as a process, with clients and signals from outside."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from anyio_ws import InvalidStatus, WebSocket, open_websocket
from anyio_ws.__main__ import main

from .helpers import BACKENDS, PATIENCE, PYTHON, ROOT, run, run_without, running, without

SERVE = [*PYTHON, "-m", "anyio_ws", "serve"]
LISTENING = "listening on "

ON = {
    "asyncio": [],
    "uvloop": ["--uvloop"],
    "trio": ["--backend", "trio"],
}

APP = """
from anyio_ws import Router, WebSocket

router = Router()


@router.route("/hello/{name}")
async def hello(ws: WebSocket, name: str) -> None:
    await ws.send(f"hello {name}")


async def tell(ws: WebSocket) -> None:
    await ws.send(ws.url)


class Site:
    handlers = [tell]

    class inner:
        tell = tell


def plain(ws: WebSocket) -> None:
    pass


class Hooked:
    def process_request(self, ws, request):
        pass

    async def __call__(self, ws: WebSocket) -> None:
        pass


hooked = Hooked()


async def fail(ws: WebSocket) -> None:
    raise ValueError("of the handler")


async def finish(ws: WebSocket) -> None:
    await ws.send("working")
    await ws.shutting_down
    await ws.send("finished")


async def work(ws: WebSocket) -> None:
    await ws.send("working")
    await ws.shutting_down.wait()
    await ws.wait_closed()
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A directory with the module ``app``."""
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


class Served:
    """A server that runs, as a process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdout, self.stderr = process.stdout, process.stderr
        self.places = [self.next_place()]

    def next_place(self) -> str:
        line = self.stdout.readline()
        assert line.startswith(LISTENING), self.stderr.read()
        return line.removeprefix(LISTENING).strip()

    @property
    def url(self) -> str:
        return self.places[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def wait_for(self, text: str) -> str:
        """Read what it logs, up to the line that has *text*."""
        read = ""
        for line in self.stderr:
            read += line
            if text in line:
                return read
        raise AssertionError(f"no {text!r} in {read}")

    def ended(self) -> tuple[int, str]:
        """Wait until it has; the exit code, and what it logged that wasn't read."""
        said = self.stderr.read()
        assert self.stdout.read() == ""
        return self.process.wait(PATIENCE), said

    def end(self, number: signal.Signals = signal.SIGTERM) -> str:
        """Let it end in order; what it logged that wasn't read."""
        self.process.send_signal(number)
        code, said = self.ended()
        assert code == 0, said
        assert "Traceback" not in said
        assert "Warning" not in said
        return said


@contextmanager
def serving(
    *arguments: str, cwd: Path = ROOT, command: list[str] = SERVE, port: str | None = "0"
) -> Iterator[Served]:
    where = [] if port is None else ["--port", port]
    with running(
        *command, *where, *arguments, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        yield Served(process)


def connected(url: str, use: Callable[[WebSocket], Any], **options: Any) -> Any:
    """What *use*, an async function, makes of a connection to *url*."""

    async def connect() -> Any:
        with anyio.fail_after(PATIENCE):
            async with open_websocket(url, **options) as ws:
                return await use(ws)

    return anyio.run(connect)


def received(url: str, **options: Any) -> str:
    """The first message of a server."""

    async def receive(ws: WebSocket) -> str:
        return str(await ws.receive())

    return str(connected(url, receive, **options))


async def check_echo(ws: WebSocket) -> None:
    await ws.send("hello")
    assert await ws.receive() == "hello"


# -- serving


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("backend", ON)
def test_an_echo_is_served_until_a_signal_says_goodbye(
    backend: str, number: signal.Signals
) -> None:
    async def use(ws: WebSocket) -> int | None:
        await check_echo(ws)
        served.process.send_signal(number)
        await ws.wait_closed()
        return ws.close_code

    with serving("--echo", *ON[backend]) as served:
        assert served.url == f"ws://127.0.0.1:{served.port}"
        assert connected(served.url, use) == 1001
        code, said = served.ended()
    assert code == 0
    (line,) = said.splitlines()
    assert line.endswith(f"INFO anyio_ws.server: {number.name}: shutting down, 1 open")


@pytest.mark.parametrize("backend", BACKENDS)
def test_handlers_are_found_in_a_module_of_the_current_directory(app: Path, backend: str) -> None:
    with serving("app:tell", "--backend", backend, cwd=app) as served:
        assert received(served.url + "/x?y") == "/x?y"
        served.end()
    with serving("app:router", "--backend", backend, cwd=app) as served:
        assert received(served.url + "/hello/Ada") == "hello Ada"
        with pytest.raises(InvalidStatus, match="404"):
            received(served.url + "/bye")
        assert "404" in served.end()
    (app / "pack").mkdir()
    (app / "pack" / "inner.py").write_text(APP)
    with serving("pack.inner:Site.inner.tell", "--backend", backend, cwd=app) as served:
        assert received(served.url) == "/"
        served.end()


def test_the_script_finds_the_module_too(app: Path) -> None:
    # Of a script the first directory on the path is its own, not the current one.
    (app / "bin").mkdir()
    script = app / "bin" / "script.py"
    script.write_text("import sys; from anyio_ws.__main__ import main; sys.exit(main())")
    with serving("app:tell", cwd=app, command=[*PYTHON, str(script), "serve"]) as served:
        assert received(served.url) == "/"
        served.end()


@pytest.mark.parametrize("files", ["one", "two"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_tls_takes_a_certificate_and_its_key(
    tmp_path: Path, ca: trustme.CA, client_ssl_context: ssl.SSLContext, backend: str, files: str
) -> None:
    certificate = ca.issue_cert("127.0.0.1")
    if files == "one":
        certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
        given = ["--cert", "both.pem"]
    else:
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
        given = ["--cert", "cert.pem", "--key", "key.pem"]
    with serving("--echo", *given, "--backend", backend, cwd=tmp_path) as served:
        assert served.url.startswith("wss://127.0.0.1:")
        connected(served.url, check_echo, ssl=client_ssl_context)
        served.end()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_unix_socket_is_served_and_removed(tmp_path: Path, backend: str) -> None:
    path = str(tmp_path / "echo.sock")
    with serving("--echo", "--unix", path, "--backend", backend, port=None) as served:
        assert served.places == [path]
        connected("ws://localhost/", check_echo, unix_path=path)
        served.end()
    assert not os.path.exists(path)


def test_several_hosts_are_served_on_one_port() -> None:
    with serving("--echo", "--host", "127.0.0.1", "--host", "127.0.0.2") as served:
        assert [served.url, served.next_place()] == [
            f"ws://127.0.0.1:{served.port}",
            f"ws://127.0.0.2:{served.port}",
        ]
        for host in "127.0.0.1", "127.0.0.2":
            connected(f"ws://{host}:{served.port}", check_echo)
        served.end()


def test_processes_may_share_a_port() -> None:
    with serving("--echo", "--reuse-port") as one:
        with serving("--echo", "--reuse-port", port=str(one.port)) as other:
            assert other.url == one.url
            connected(one.url, check_echo)
            other.end()
        connected(one.url, check_echo)
        one.end()


def test_asyncio_works_where_trio_is_not_installed() -> None:
    with serving("--echo", command=[*without("trio"), "serve"]) as served:
        connected(served.url, check_echo)
        served.end()


def test_what_a_handler_raises_is_logged_and_nothing_at_debug_without_v(app: Path) -> None:
    with serving("app:fail", cwd=app) as served:
        assert connected(served.url, closed) == 1011
        said = served.wait_for("ValueError: of the handler")
        served.end()
    assert "ERROR anyio_ws.server: connection handler failed" in said
    assert "DEBUG" not in said


async def closed(ws: WebSocket) -> int | None:
    await ws.wait_closed()
    return ws.close_code


def test_v_shows_the_handshake_at_debug() -> None:
    with serving("--echo", "-v") as served:
        connected(served.url, check_echo)
        served.wait_for("DEBUG anyio_ws.server: < GET / HTTP/1.1")
        served.end()


def test_a_module_may_see_to_logging_itself(app: Path) -> None:
    with (app / "app.py").open("a") as file:
        file.write(
            "\nimport logging; logging.basicConfig(format='mine: %(message)s', level='INFO')"
        )
    with serving("app:tell", cwd=app) as served:
        assert served.end() == "mine: SIGTERM: shutting down, 0 open\n"


# -- ending


@pytest.mark.parametrize("backend", BACKENDS)
def test_handlers_have_the_grace_to_finish(app: Path, backend: str) -> None:
    async def use(ws: WebSocket) -> list[str | bytes]:
        assert await ws.receive() == "working"
        served.process.send_signal(signal.SIGTERM)
        said = [message async for message in ws]
        assert ws.close_code == 1000
        return said

    with serving("app:finish", "--grace", "30", "--backend", backend, cwd=app) as served:
        assert connected(served.url, use) == ["finished"]
        assert served.ended()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_second_signal_ends_it_at_once(app: Path, backend: str, number: signal.Signals) -> None:
    async def use(ws: WebSocket) -> int | None:
        assert await ws.receive() == "working"
        served.process.send_signal(signal.SIGTERM)
        served.wait_for("SIGTERM: shutting down, 1 open")
        assert ws.close_code is None
        served.process.send_signal(number)
        return await closed(ws)

    with serving("app:work", "--grace", "3600", "--backend", backend, cwd=app) as served:
        assert connected(served.url, use) == 1001
        assert served.ended() == (1, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_signal_while_it_starts_ends_it_in_order(backend: str, number: signal.Signals) -> None:
    # Where AnyIO imports what it runs on, the process sends itself the signal.
    program = f"""
import os, sys
from anyio_ws.__main__ import main

class Finder:
    def find_spec(name, path, target=None):
        if name == "anyio._backends._{backend}":
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Finder)
sys.exit(main())
"""
    command = [*PYTHON, "-c", program, "serve"]
    ended = run(*command, "--echo", "--port", "0", "--backend", backend)
    assert ended.returncode == 0
    assert ended.stdout.startswith(LISTENING)
    assert f"{number.name}: shutting down, 0 open" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_ctrl_c_ends_an_import_that_takes_forever(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "print('importing', flush=True)\nimport time; time.sleep(3600)"
    )
    command = [*SERVE, "slow:handler"]
    with running(*command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) in (0, -signal.SIGINT)


# -- what makes no sense


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "what is to be served? module:handler, or --echo"),
        (["app:tell", "--echo"], "what is to be served? module:handler, or --echo"),
        (["--echo", "--port", "65536"], "argument --port: not a port: '65536'"),
        (["--echo", "--port", "-1"], "argument --port: not a port: '-1'"),
        (["--echo", "--port", "http"], "argument --port: not a port: 'http'"),
        (["--echo", "--unix", "x", "--port", "0"], "--port: not allowed with argument --unix"),
        (["--echo", "--unix", "x", "--host", "h"], "--host: not allowed with argument --unix"),
        (["--echo", "--unix", "x", "--reuse-port"], "--reuse-port: not allowed with argument"),
        (["--echo", "--key", "k"], "argument --key: not without --cert"),
        (["--echo", "--uvloop", "--backend", "trio"], "--uvloop: not with the backend trio"),
        (["--echo", "--backend", "curio"], "argument --backend: invalid choice: 'curio'"),
        (["--echo", "--grace", "-1"], "argument --grace: must be 0 or more, and finite: '-1'"),
    ],
)
def test_options_that_make_no_sense_are_named(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", *arguments])
    assert caught.value.code == 2
    usage, _, error = capsys.readouterr().err.rpartition("anyio-ws serve: error: ")
    assert usage.startswith("usage: anyio-ws serve ")
    assert complaint in error


@pytest.fixture
def imports(app: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Import from the directory of ``app`` in this process, and leave no trace of that."""
    monkeypatch.chdir(app)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    return app


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("app", "'app' isn't of the form module:handler"),
        ("app:", "'app:' isn't of the form module:handler"),
        (":tell", "':tell' isn't of the form module:handler"),
        (".app:tell", "'.app:tell' isn't of the form module:handler"),
        ("nowhere:tell", "there is no module 'nowhere'"),
        ("nowhere.at.all:tell", "there is no module 'nowhere'"),
        ("app.inner:tell", "there is no module 'app.inner'"),
        ("app.py:tell", "there is no module 'app.py'"),
        ("app:nothing", "there is no 'nothing' in the module 'app'"),
        ("app:Site.nothing", "there is no 'Site.nothing' in the module 'app'"),
        ("app:plain", "app:plain must be an async function, not <function plain at "),
        ("app:Site", "app:Site must be an async function, not <class 'app.Site'>"),
        ("app:Site.handlers", "app:Site.handlers must be an async function, not [<function tell"),
        ("app:hooked", "process_request must be an async function, not <bound method "),
    ],
)
@pytest.mark.usefixtures("imports")
def test_what_is_no_handler_is_told_in_one_line(
    target: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", target]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"anyio-ws serve: {complaint}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import missing_one", "ModuleNotFoundError: No module named 'missing_one'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def", "SyntaxError: invalid syntax"),
    ],
)
def test_what_a_module_raises_is_shown_with_its_traceback(
    imports: Path, source: str, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (imports / "broken.py").write_text(source)
    assert main(["serve", "broken:handler"]) == 1
    *traceback, line = capsys.readouterr().err.splitlines()
    assert traceback[0] == "Traceback (most recent call last):"
    assert f"{imports / 'broken.py'}" in "\n".join(traceback)
    assert traceback[-1] == error
    assert line == "anyio-ws serve: the module 'broken' can't be imported"


def test_files_that_are_no_certificate_are_told_in_one_line(
    tmp_path: Path, ca: trustme.CA, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = ca.issue_cert("localhost"), ca.issue_cert("localhost")
    one.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    other.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "garbage.pem").write_text("garbage")
    cert, key, garbage, nowhere = (
        str(tmp_path / name) for name in ("cert.pem", "key.pem", "garbage.pem", "nowhere.pem")
    )
    for given, told in (
        (["--cert", nowhere], f"{nowhere}: [Errno 2] No such file"),
        (["--cert", garbage], f"{garbage}: "),
        (["--cert", cert], f"{cert}: "),
        (["--cert", cert, "--key", key], f"{cert} and {key}: [X509: KEY_VALUES_MISMATCH]"),
    ):
        assert main(["serve", "--echo", *given]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"anyio-ws serve: can't use the certificate in {told}")
        assert err.count("\n") == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_place_that_cannot_be_listened_on_is_told_in_one_line(
    backend: str, tmp_path: Path
) -> None:
    def told(*arguments: str) -> str:
        ended = run(*SERVE, "--echo", "--backend", backend, *arguments)
        assert (ended.returncode, ended.stdout) == (1, "")
        prefix = "anyio-ws serve: can't listen on "
        assert ended.stderr.startswith(prefix)
        assert ended.stderr.count("\n") == 1
        return ended.stderr.removeprefix(prefix)

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "in use" in told("--port", str(port))
    assert told("--unix", str(tmp_path / "no" / "way")).startswith(str(tmp_path / "no" / "way: "))


def test_a_listening_socket_that_breaks_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: object, **options: object) -> int:
        raise OSError("it broke")

    monkeypatch.setattr("anyio.run", broken)
    assert main(["serve", "--echo"]) == 1
    assert capsys.readouterr() == ("", "anyio-ws serve: can't listen any more: it broke\n")


@pytest.mark.parametrize(
    ("module", "options", "package"),
    [("trio", ["--backend", "trio"], "'anyio-ws[trio]'"), ("uvloop", ["--uvloop"], "uvloop")],
)
def test_one_sentence_tells_how_to_install_what_is_missing(
    module: str, options: list[str], package: str
) -> None:
    ended = run_without(module, "serve", "--echo", *options)
    assert ended.stderr == f"anyio-ws serve needs {module}: pip install {package}\n"
    assert (ended.returncode, ended.stdout) == (2, "")
