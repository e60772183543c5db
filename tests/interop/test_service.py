"""The documentation's server for production, as a process, and the files that others start it with."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread
import pytest

from anyio_ws import WebSocket, open_websocket

from .programs import PATIENCE, ROOT, SERVICE, configuration, lack, need, reserved_port, running

Process = subprocess.Popen[bytes]

PYTHON = [sys.executable, "-W", "error"]


@contextmanager
def service(
    log: Path,
    environment: Mapping[str, str],
    command: Sequence[str | Path] = (*PYTHON, SERVICE),
    *,
    ready: str = "serving\n",
    pass_fds: Sequence[int] = (),
) -> Iterator[Process]:
    """Run the service for the length of a block, which begins when it has said that it's *ready*."""
    whole = {"PYTHONPATH": str(ROOT), **environment}
    with running(
        command, log, lambda: ready in log.read_text(), environment=whole, pass_fds=pass_fds
    ) as process:
        yield process


async def end_of(process: Process) -> int:
    """The exit status."""
    return await anyio.to_thread.run_sync(process.wait, PATIENCE)


async def say_hello(ws: WebSocket) -> None:
    await ws.send("hello")
    assert await ws.receive() == "hello"


# -- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_says_goodbye_to_clients_and_ends_it_well(
    tmp_path: Path, anyio_backend_name: str, number: signal.Signals
) -> None:
    log = tmp_path / "log"
    with anyio.fail_after(PATIENCE), reserved_port() as port:
        with service(log, {"PORT": str(port), "BACKEND": anyio_backend_name}) as process:
            async with open_websocket(f"ws://127.0.0.1:{port}") as ws:
                await say_hello(ws)
                process.send_signal(number)
                await ws.wait_closed()
            assert ws.close_code == 1001
            assert await end_of(process) == 0
    assert log.read_text() == f"serving\nended by {number.name}\n"


# -- sockets of a supervisor's

# The sockets are descriptors from 3 on, and two variables say so.
AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.executable, [sys.executable, "-W", "error", *sys.argv[2:]])
"""


async def test_while_it_restarts_on_an_inherited_socket_clients_wait_and_none_is_refused(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    with anyio.fail_after(PATIENCE), socket.create_server(("127.0.0.1", 0)) as listener:
        number, address = listener.fileno(), listener.getsockname()
        command = [*PYTHON, "-c", AS_SYSTEMD, str(number), str(SERVICE)]
        environment = {"BACKEND": anyio_backend_name}
        url = f"ws://127.0.0.1:{address[1]}"
        with service(tmp_path / "first", environment, command, pass_fds=[number]):
            async with open_websocket(url) as ws:
                await say_hello(ws)
        waiting = socket.create_connection(address)
        with service(tmp_path / "second", environment, command, pass_fds=[number]):
            async with open_websocket(url, stream=waiting) as ws:
                await say_hello(ws)


async def test_systemd_hands_it_a_socket_when_the_first_client_comes(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    activate = need("systemd-socket-activate")
    log = tmp_path / "log"
    with anyio.fail_after(PATIENCE), reserved_port() as port:
        command = [activate, "-l", f"127.0.0.1:{port}", "-E", "PYTHONPATH", "-E", "BACKEND"]
        environment = {"BACKEND": anyio_backend_name}
        with service(log, environment, [*command, *PYTHON, SERVICE], ready="Listening") as process:
            async with open_websocket(f"ws://127.0.0.1:{port}") as ws:
                await say_hello(ws)
                process.terminate()  # it has become the service
                await ws.wait_closed()
            assert ws.close_code == 1001
            assert await end_of(process) == 0
    assert log.read_text().endswith("serving\nended by SIGTERM\n")


# -- containers


def instruction(dockerfile: str, name: str) -> list[str]:
    """The command of the instruction *name*, which must be one that no shell runs."""
    (found,) = re.findall(rf"^{name} (\[.*\])$", dockerfile, re.M)
    return [sys.executable if word == "python" else word for word in json.loads(found)]


class Container(NamedTuple):
    around: Process
    """What made the namespace; it ends with process 1."""
    pid: int
    """Of process 1, as it is known outside."""
    port: int
    dockerfile: str


@contextmanager
def container(where: Path, backend: str) -> Iterator[Container]:
    """Run what the Dockerfile says as process 1."""
    apart = [need("unshare"), "--pid", "--fork", "--kill-child"]
    if subprocess.run([*apart, "true"], capture_output=True).returncode != 0:
        lack("unshare may not make a process 1 here")
    shutil.copy(SERVICE, where)
    with reserved_port() as port:
        changes = {"HOST=0.0.0.0": "HOST=127.0.0.1", "8765": str(port)}
        dockerfile = configuration("Dockerfile", changes)
        (variables,) = re.findall(r"^ENV (.*)$", dockerfile, re.M)
        environment = dict(pair.split("=") for pair in variables.split())
        command = instruction(dockerfile, "CMD")
        script = f'cd "{where}"; echo $$; exec "$@"'
        with service(
            where / "log",
            {**environment, "BACKEND": backend},
            [*apart, "sh", "-c", script, "sh", *command],
        ) as process:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            inside = Container(process, int(children.read_text()), port, dockerfile)
            try:
                yield inside
            finally:
                if process.poll() is None:  # it ends with its child, and not by SIGTERM
                    os.kill(inside.pid, signal.SIGKILL)


async def test_as_process_1_of_a_container_it_hears_that_it_is_to_stop(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    """Signals have no default action there: what a process 1 doesn't handle is lost."""
    with (
        anyio.fail_after(PATIENCE),
        container(tmp_path, anyio_backend_name) as inside,
    ):
        async with open_websocket(f"ws://127.0.0.1:{inside.port}") as ws:
            await say_hello(ws)
            os.kill(inside.pid, signal.SIGTERM)
            await ws.wait_closed()
        assert ws.close_code == 1001
        assert await end_of(inside.around) == 0
    assert (tmp_path / "log").read_text() == "1\nserving\nended by SIGTERM\n"


async def test_the_health_check_of_the_container_tells_well_from_ill(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    def check() -> int:
        return subprocess.run(command, capture_output=True, timeout=PATIENCE).returncode

    with container(tmp_path, anyio_backend_name) as inside:
        command = instruction(inside.dockerfile, "HEALTHCHECK CMD")
        assert await anyio.to_thread.run_sync(check) == 0
        os.kill(inside.pid, signal.SIGTERM)
        await end_of(inside.around)
        assert await anyio.to_thread.run_sync(check) == 1


# -- several processes


async def test_processes_share_a_port_and_one_that_ends_takes_only_its_own_clients(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    with anyio.fail_after(PATIENCE), reserved_port() as port, ExitStack() as stack:
        environment = {"PORT": str(port), "BACKEND": anyio_backend_name, "REUSE_PORT": "1"}
        one, _ = (
            stack.enter_context(service(tmp_path / name, environment)) for name in ("one", "other")
        )
        url = f"ws://127.0.0.1:{port}"
        async with AsyncExitStack() as opened:
            connections = [await opened.enter_async_context(open_websocket(url)) for _ in range(40)]
            one.kill()  # SIGTERM would take the five seconds over which goodbyes are spread
            await end_of(one)
            for _ in range(10):
                async with open_websocket(url) as ws:
                    await say_hello(ws)
            left = [ws for ws in connections if ws.close_code is None]
            assert 0 < len(left) < len(connections)
            for ws in left:
                await say_hello(ws)
