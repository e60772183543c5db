"""How the tests run: on every backend, on which clock, and leaving nothing behind.

Backends. Every ``async def test_...`` runs once on each of `BACKENDS`, without a marker. AnyIO's
pytest plugin runs it; what it runs on is the value of the fixture ``anyio_backend``. Each test gets
an event loop of its own, so async fixtures have function scope.

Virtual time. A test that needs a clock asks for the fixture ``virtual_time`` (a whole module with
``pytestmark = pytest.mark.usefixtures("virtual_time")``) and runs on `VIRTUAL_TIME_BACKENDS`
instead: time stands still while anything can run, and jumps to the next deadline when nothing can.
``await anyio.sleep(3600)`` is then exact and free, and so is every timeout. It's the fixture of our
pytest plugin, by a shorter name. uvloop has no such clock: it isn't in the list, so these tests are
not collected for it. Never together with threads, name resolution or a peer in another process: the
clock does not wait for them.

Transports. Connections go over sockets of ours, or with ``--transport streams`` over `stream.py`:
over AnyIO's streams where there is a socket, else over streams in memory. Tests of one of them don't care.

Leaks. `no_leaks` compares tasks and open file descriptors before and after every test. An async
test is compared inside its event loop, while that is alive: what the loop itself has open is open
both times, and what a dying loop would sweep away unseen is still there.
"""

from __future__ import annotations

import gc
import inspect
import itertools
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import hypothesis  # looks for referrers while it is imported: see the freeze below
import pytest
import trustme
import uvloop
from anyio.abc import SocketStream, UNIXSocketStream

from anyio_ws.transports import dial
from anyio_ws.transports.base import Transport
from anyio_ws.transports.stream import StreamTransport

# Also where the project isn't installed, or was before it had the plugin.
pytest_plugins = ["anyio_ws_pytest"]

Backend = tuple[str, dict[str, Any]]

# How long an example may take is no question here: a machine that others use is slow for a moment.
hypothesis.settings.register_profile(
    "patient",
    hypothesis.settings.default,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("patient")

BACKENDS: dict[str, Backend] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}
VIRTUAL_TIME_BACKENDS = {name: BACKENDS[name] for name in ("asyncio", "trio")}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--transport",
        choices=["sockets", "streams"],
        default="sockets",
        help="what connections go over where a test doesn't say it: sockets of ours, or streams of AnyIO's",
    )


SET_ASIDE = "_OF_INSTALLERS"
"""With this at its end the name of a proxy's variable is kept, for who has to install something."""


def pytest_configure(config: pytest.Config) -> None:
    # Connections are to go where a test says, and so do those of its programs.
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        os.environ[name + SET_ASIDE] = os.environ.pop(name)
    if config.getoption("--transport") == "streams":
        from .websocket import helpers  # which pytester's inner runs don't have

        helpers.over_sockets = False
        dial.over_socket = _over_anyio_stream


async def _over_anyio_stream(sock: socket.socket) -> Transport:
    unix = sock.family == socket.AF_UNIX
    stream = UNIXSocketStream if unix else SocketStream
    return StreamTransport(await stream.from_socket(sock))


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: Any) -> None:
    # Not AnyIO's own switch for this, anyio_mode = "auto": pytester's inner runs have no settings.
    if collector.istestfunction(obj, name):
        inner = obj.hypothesis.inner_test if hasattr(obj, "hypothesis") else obj
        if inspect.iscoroutinefunction(inner):
            pytest.mark.usefixtures("anyio_backend")(obj)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "anyio_backend" in metafunc.fixturenames:
        virtual = "virtual_time" in metafunc.fixturenames
        backends = VIRTUAL_TIME_BACKENDS if virtual else BACKENDS
        metafunc.parametrize("anyio_backend", backends.values(), ids=backends, indirect=True)


def set_aside() -> None:
    """Keep what is alive now out of garbage collections: the one after every async test is then quick."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def pytest_collection_finish() -> None:
    set_aside()
    # The first loop of uvloop in a process opens a pipe that stays open.
    uvloop.new_event_loop().close()


_finished = itertools.count(1)


def pytest_runtest_logfinish() -> None:
    # A test leaves some kilobytes in pytest. After thousands of tests that is most of what is alive.
    if next(_finished) % 100 == 0:
        set_aside()


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> Backend:
    backend: Backend = request.param
    return backend


@pytest.fixture
def virtual_time(anyio_ws_virtual_time: None) -> None:
    """Run this test on virtual time: see the top of this file."""


# -- leaks


def open_descriptors() -> dict[int, str]:
    """Return numbers and targets of what this process has open; nothing where there is no /proc.

    Left out is what libraries open once and keep: devices, and the epoll and event descriptors of
    an event loop. A whole loop that is leaked still shows by its wake-up sockets.
    """
    found = {}
    for number in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else ():
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
        if not target.startswith(("/dev/", "anon_inode:")):
            found[int(number)] = target
    return found


def running_tasks() -> dict[int, str]:
    """Return identity and name of every task, except those the test runner makes for each call."""
    return {
        task.id: f"{task.name}: {task.coro!r}"
        for task in anyio.get_running_tasks()
        if getattr(task.coro, "__name__", "") != "_call_in_runner_task"
    }


class Snapshot:
    """What is alive now, to compare with later."""

    def __init__(self, *, in_loop: bool) -> None:
        self._in_loop = in_loop
        self._descriptors = open_descriptors()
        self._tasks = running_tasks() if in_loop else {}

    def grown(self) -> list[str]:
        """Return what is there now and was not then, if there is more of it: a line each."""
        lines = []
        descriptors = open_descriptors()
        # How many there are is compared, and which ones is only told: uvloop has other wake-up
        # sockets each time the loop is run.
        if len(descriptors) > len(self._descriptors):
            new = descriptors.items() - self._descriptors.items()
            lines += [f"file descriptor {number}: {target}" for number, target in sorted(new)]
        if self._in_loop:
            tasks = running_tasks()
            lines += [f"task {tasks[key]}" for key in tasks.keys() - self._tasks.keys()]
        return lines


def fail_if(grown: list[str]) -> None:
    if grown:
        pytest.fail("\n".join(["the test left behind", *grown]), pytrace=False)


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test if tasks or file descriptors are left when it and its other fixtures ended."""
    if "anyio_backend" in request.fixturenames:
        # Asked for before any other fixture of the test, so it is also the last to end.
        request.getfixturevalue("_no_leaks_in_loop")
        yield
    else:
        before = Snapshot(in_loop=False)
        yield
        fail_if(before.grown())


class _Complaints(logging.Handler):
    """What asyncio can only log: a task destroyed while pending, an exception never retrieved."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


# What closes in the background (a transport's last callback, a peer's reader that saw the end) may
# take this many scheduling rounds. Rounds and not seconds: virtual time stands still while we look.
ROUNDS = 100


@pytest.fixture
async def _no_leaks_in_loop() -> AsyncIterator[None]:
    complaints = _Complaints()
    logger = logging.getLogger("asyncio")
    logger.addHandler(complaints)
    before = Snapshot(in_loop=True)
    yield
    grown = before.grown()
    for _ in range(ROUNDS):
        if not grown:
            break
        await anyio.lowlevel.checkpoint()
        grown = before.grown()
    # Now and here, so that a ResourceWarning is this test's error and no later one's.
    gc.collect()
    logger.removeHandler(complaints)
    fail_if(grown + complaints.messages)


# -- TLS


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """A certificate authority that nobody but `client_ssl_context` trusts."""
    return trustme.CA()


@pytest.fixture(scope="session")
def server_ssl_context(ca: trustme.CA) -> ssl.SSLContext:
    """A server's context, with a certificate for localhost, 127.0.0.1 and ::1."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost", "127.0.0.1", "::1").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_ssl_context(ca: trustme.CA) -> ssl.SSLContext:
    """A client's context that trusts `ca` and checks host names."""
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context
