"""The command line and its demo, run the way a user runs them: as processes of their own."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
from functools import partial
from types import SimpleNamespace
from typing import Any

import anyio
import psutil
import pytest
from rich.console import Console

from anyio_ws import open_server, open_websocket
from anyio_ws.__main__ import main
from anyio_ws.cli.demo import send_readings
from anyio_ws.cli.readings import COUNTERS, feeds
from anyio_ws.cli.table import build_table
from anyio_ws.sansio.codec import CODEC

from .helpers import BACKENDS, PATIENCE, PYTHON, run, run_without, running

FEEDS = ["cpu", "memory", "network"]
DEMO = [*PYTHON, "-m", "anyio_ws", "demo", "--interval", "0.1"]


def parse(line: str) -> tuple[str, Any]:
    feed, message = line.split(" ", 1)
    return feed, json.loads(message)


def rendered(latest: dict[str, Any]) -> str:
    console = Console(record=True, file=io.StringIO(), width=80)
    console.print(build_table(latest))
    return console.export_text()


# -- lines


@pytest.mark.parametrize("backend", BACKENDS)
def test_lines_tell_readings_of_all_feeds_until_the_time_is_up(backend: str) -> None:
    ended = run(*DEMO, "--plain", "--backend", backend, "--seconds", "2")
    assert (ended.returncode, ended.stderr) == (0, "")
    readings = [parse(line) for line in ended.stdout.splitlines()]
    assert {feed for feed, _ in readings} == set(FEEDS)
    latest = dict(readings)
    assert len(latest["cpu"]["percent"]) == psutil.cpu_count()
    assert latest["memory"]["total"] == psutil.virtual_memory().total
    assert latest["network"].keys() == {*COUNTERS, "per_second", "time"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_sent_before_the_first_interval_is_over(backend: str) -> None:
    command = [*PYTHON, "-m", "anyio_ws", "demo", "--backend", backend]
    ended = run(*command, "--interval", "20", "--seconds", "0.3")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_signal_ends_the_demo_quietly(backend: str, number: signal.Signals) -> None:
    command = [*DEMO, "--plain", "--backend", backend]
    with running(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert parse(process.stdout.readline())[0] in FEEDS
        process.send_signal(number)
        assert all(parse(line)[0] in FEEDS for line in process.stdout)
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_signal_during_the_imports_ends_the_demo_quietly(
    backend: str, number: signal.Signals
) -> None:
    # Where the import of psutil begins, the process sends itself the signal.
    program = f"""
import os, sys
from anyio_ws.__main__ import main

class Finder:
    def find_spec(name, path, target=None):
        if name == "psutil":
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Finder)
sys.exit(main())
"""
    ended = run(*PYTHON, "-c", program, "demo", "--backend", backend)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_reader_that_goes_away_ends_the_demo_quietly(backend: str) -> None:
    # Without --plain: a pipe is no terminal, so it gets lines anyway.
    command = [*DEMO, "--backend", backend]
    with running(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert parse(process.stdout.readline())[0] in FEEDS
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) == 0


async def test_a_feed_ends_with_its_client_however_long_its_interval_is() -> None:
    with anyio.fail_after(5):  # a server waits twice as long for its handlers
        handler = partial(send_readings, feeds()["memory"], 3600)
        async with open_server(handler, "127.0.0.1", 0) as server:
            async with open_websocket(server.url) as ws:
                pass
    assert ws.close_code == 1000


# -- the table


def read_until(terminal: int, *texts: bytes) -> bytes:
    """Read until each of ``texts`` was seen, or all there is if there are none."""
    output = b""
    while not texts or not all(text in output for text in texts):
        try:
            chunk = os.read(terminal, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # how Linux says that nobody has the other end any more
                raise
            chunk = b""
        if not chunk:
            break
        output += chunk
    return output


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_terminal_shows_a_table_until_ctrl_c_is_typed(backend: str) -> None:
    pty = pytest.importorskip("pty")
    # Ctrl-C is a signal to those whose controlling terminal it was typed at.
    own_the_terminal = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = [*PYTHON, "-c", own_the_terminal, *DEMO, "--backend", backend]
    here, there = pty.openpty()
    try:
        with running(
            *command, stdin=there, stdout=there, stderr=there, start_new_session=True
        ) as process:
            os.close(there)
            output = read_until(here, b"% busy", b"available", b"packets/s")
            assert all(feed.encode() in output for feed in FEEDS)
            os.write(here, b"\x03")
            output += read_until(here)
            assert process.wait(PATIENCE) == 0
    finally:
        os.close(here)
    assert b"Traceback" not in output
    assert b"Warning" not in output
    hide_cursor, show_cursor = b"\x1b[?25l", b"\x1b[?25h"
    assert -1 < output.rfind(hide_cursor) < output.rfind(show_cursor)


def test_the_table_says_in_words_what_the_readings_say() -> None:
    text = rendered(
        {
            "cpu": {"percent": [10.0, 30.4]},
            "memory": {
                "total": 8_000_000_000,
                "used": 1_900_000_000,
                "available": 6_000_000_000,
                "percent": 25.0,
                "swap": {"total": 2_000_000_000, "used": 500_000_000, "percent": 25.0},
            },
            "network": {
                **dict(zip(COUNTERS, (5_000_000, 70, 6_000_000, 80), strict=True)),
                "per_second": dict(zip(COUNTERS, (1500.0, 7.0, 2500.0, 8.0), strict=True)),
            },
        }
    )
    assert "20 % busy" in text
    assert "each core: 10 30" in text
    assert "25 % of 8.0 GB used, 6.0 GB available" in text
    assert "swap: 500.0 MB of 2.0 GB used" in text
    assert "in: 1.5 kB/s, 7 packets/s (so far 5.0 MB)" in text
    assert "out: 2.5 kB/s, 8 packets/s (so far 6.0 MB)" in text


def test_the_table_shows_every_feed_before_its_first_reading() -> None:
    lines = rendered(dict.fromkeys(FEEDS)).splitlines()
    for feed in FEEDS:
        assert any(feed in line and "waiting" in line for line in lines)


def test_the_table_can_show_what_this_machine_reads() -> None:
    text = rendered({name: json.loads(json.dumps(read())) for name, read in feeds().items()})
    assert "waiting" not in text


# -- readings


def test_network_rates_are_those_since_the_last_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    counters: dict[str, int] = dict.fromkeys(COUNTERS, 1000)
    clock = 50.0
    monkeypatch.setattr("psutil.net_io_counters", lambda: SimpleNamespace(**counters))
    monkeypatch.setattr("time.perf_counter", lambda: clock)
    read = feeds()["network"]
    counters["bytes_sent"] = 1600
    clock += 2
    assert read()["per_second"] == {**dict.fromkeys(COUNTERS, 0), "bytes_sent": 300}
    clock += 1
    assert read() == {**counters, "per_second": dict.fromkeys(COUNTERS, 0)}


def test_a_machine_without_network_interfaces_has_counters_of_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("psutil.net_io_counters", lambda: None)
    zero = dict.fromkeys(COUNTERS, 0)
    assert feeds()["network"]() == {**zero, "per_second": zero}


# -- the command line


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--backend", "nonsense"], "argument --backend: invalid choice: 'nonsense'"),
        (["--seconds", "-1"], "argument --seconds: must be 0 or more, and finite: '-1'"),
        (["--seconds", "nan"], "argument --seconds: must be 0 or more, and finite: 'nan'"),
        (["--seconds", "inf"], "argument --seconds: must be 0 or more, and finite: 'inf'"),
        (["--seconds", "soon"], "argument --seconds: not a number: 'soon'"),
        (["--interval", "0"], "argument --interval: must be more than 0"),
        (["--interval", "-1"], "argument --interval: must be 0 or more, and finite: '-1'"),
        (["--port", "80"], "argument --port: not without --web"),
        (["--host", ""], "argument --host: not without --web"),
        (["--web", "--port", "-1"], "argument --port: not a port: '-1'"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["demo", *arguments])
    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


def test_a_command_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "which command? (there are: connect, ping, serve, demo)" in capsys.readouterr().err


def test_versions_are_shown_of_all_that_matters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines]
    assert names == ["anyio-ws", "Python", "anyio", "trio", "h11", "codec:"]
    assert lines[-1] == f"codec: {CODEC}"


@pytest.mark.parametrize(
    ("module", "options"), [("psutil", []), ("rich", []), ("trio", ["--backend", "trio"])]
)
def test_one_sentence_tells_how_to_install_what_is_missing(module: str, options: list[str]) -> None:
    ended = run_without(module, "demo", *options)
    assert ended.stderr == f"anyio-ws demo needs {module}: pip install 'anyio-ws[demo]'\n"
    assert (ended.returncode, ended.stdout) == (2, "")


def test_asyncio_is_the_backend_where_trio_is_not_installed() -> None:
    ended = run_without("trio", "demo", "--seconds", "1", "--interval", "0.1")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert {parse(line)[0] for line in ended.stdout.splitlines()} == set(FEEDS)


@pytest.mark.parametrize("module", ["psutil", "rich", "trio"])
def test_help_needs_no_extra(module: str) -> None:
    ended = run_without(module, "demo", "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "--backend" in ended.stdout


def test_ctrl_c_before_a_command_listens_for_it_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(argv: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("anyio_ws.cli.main", interrupted)
    assert main(["demo"]) == 0
    assert capsys.readouterr() == ("", "")
