"""What runs Autobahn TestSuite and judges what it found, tested without the suite."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from anyio_ws import WebSocket, open_server, open_websocket

from .autobahn import report, suite, testee
from .autobahn.report import Result, Verdict

CASES = ["1.1.1", "1.1.2", "7.1.5", "9.1.1", "10.1.1", "12.1.1"]


@pytest.mark.parametrize(
    ("patterns", "cases"),
    [
        (["7.1.5"], ["7.1.5"]),
        (["1"], ["1.1.1", "1.1.2"]),  # and not section 10 or 12
        (["1.*"], ["1.1.1", "1.1.2"]),
        (["1.1"], ["1.1.1", "1.1.2"]),
        (["12.*", "9"], ["9.1.1", "12.1.1"]),
        (["*"], CASES),
        (["8"], []),
    ],
)
def test_cases_are_named_by_patterns(patterns: list[str], cases: list[str]) -> None:
    assert suite.matching(CASES, patterns) == cases


@pytest.mark.parametrize(
    ("behavior", "close", "verdict"),
    [
        ("OK", "OK", Verdict.OK),
        ("INFORMATIONAL", "INFORMATIONAL", Verdict.INFORMATIONAL),
        ("INFORMATIONAL", "FAILED", Verdict.INFORMATIONAL),
        ("NON-STRICT", "OK", Verdict.NON_STRICT),
        ("UNIMPLEMENTED", "OK", Verdict.UNIMPLEMENTED),
        ("FAILED", "OK", Verdict.FAILED),
        ("OK", "WRONG CODE", Verdict.FAILED),
        ("OK", "UNCLEAN", Verdict.FAILED),
        ("OK", "FAILED BY CLIENT", Verdict.FAILED),
        ("NON-STRICT", "FAILED", Verdict.FAILED),
        ("anything else", "OK", Verdict.FAILED),
    ],
)
def test_the_worse_of_two_verdicts_counts(behavior: str, close: str, verdict: Verdict) -> None:
    found = {"behavior": behavior, "behaviorClose": close, "remoteCloseCode": 1002}
    assert report.judge("1.1.1", found).verdict is verdict


def test_only_ok_and_informational_will_do() -> None:
    assert [verdict for verdict in Verdict if verdict.good] == [Verdict.OK, Verdict.INFORMATIONAL]


def test_a_case_that_is_not_in_the_report_is_missing(tmp_path: Path) -> None:
    assert [result.verdict for result in report.read(tmp_path, "us", CASES)] == [
        Verdict.MISSING
    ] * len(CASES)
    found = {"behavior": "OK", "behaviorClose": "OK", "remoteCloseCode": None}
    (tmp_path / "index.json").write_text(json.dumps({"us": {"7.1.5": found}}))
    results = report.read(tmp_path, "us", ["7.1.5", "9.1.1"])
    assert [result.verdict for result in results] == [Verdict.OK, Verdict.MISSING]


def test_a_failure_says_what_the_suite_says_about_it(tmp_path: Path) -> None:
    found = {"behavior": "OK", "behaviorClose": "UNCLEAN", "remoteCloseCode": 1006}
    (tmp_path / "index.json").write_text(json.dumps({"us": {"7.1.5": found}}))
    details = {"result": "So it was.", "resultClose": "It wasn't clean."}
    (tmp_path / "us_case_7_1_5.json").write_text(json.dumps(details))
    (result,) = report.read(tmp_path, "us", ["7.1.5"])
    for said in ("UNCLEAN", "1006", "It wasn't clean."):
        assert said in result.reason


def test_the_table_counts_by_section(tmp_path: Path) -> None:
    results = [Result(case, Verdict.OK) for case in CASES]
    worse = [*results[:2], Result("7.1.5", Verdict.NON_STRICT), *results[3:]]
    report.write_rst(tmp_path / "table.rst", {"server, trio": results, "client": worse}, "suite==1")
    lines = (tmp_path / "table.rst").read_text().splitlines()
    at = lines.index("   * - 7. Closing")
    assert lines[at : at + 4] == [
        "   * - 7. Closing",
        "     - 1",
        "     - 1 OK",
        "     - 1 non-strict",
    ]
    assert lines[-4:] == ["   * - All", "     - 6", "     - 6 OK", "     - 5 OK, 1 non-strict"]


async def test_our_server_sends_back_what_it_gets() -> None:
    listener = suite.listen()
    url = suite.url_of(listener)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(testee.serve, listener.detach())
        async with open_websocket(url, max_size=None) as ws:
            for message in ("text", b"binary", bytes(testee.MAX_SIZE)):
                await ws.send(message)
                assert await ws.receive() == message
        tasks.cancel_scope.cancel()


async def test_our_client_runs_every_case_whatever_becomes_of_it() -> None:
    asked: list[str] = []
    echoed: list[Any] = []

    async def autobahn(ws: WebSocket) -> None:
        asked.append(ws.request.path)
        match ws.request.path:
            case "/getCaseCount":
                await ws.send("3")
            case "/runCase?case=1&agent=us":
                await ws.send("text")
                echoed.append(await ws.receive())
            case "/runCase?case=2&agent=us":
                await anyio.aclose_forcefully(ws)
            case "/runCase?case=3&agent=us":
                await ws.send(b"binary")
                echoed.append(await ws.receive())
            case _:
                pass

    async with open_server(autobahn, "127.0.0.1", 0) as server:
        await testee.call(server.url, "us")
    assert echoed == ["text", b"binary"]
    assert asked == [
        "/getCaseCount",
        *(f"/runCase?case={case}&agent=us" for case in (1, 2, 3)),
        "/updateReports?agent=us",
    ]
