"""What the suite found: verdicts, counts, and the table of docs/conformance.rst."""

from __future__ import annotations

import collections
import datetime
import enum
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

SECTIONS: Final = {
    "1": "Framing",
    "2": "Pings and pongs",
    "3": "Reserved bits",
    "4": "Opcodes",
    "5": "Fragmentation",
    "6": "UTF-8",
    "7": "Closing",
    "9": "Limits and performance",
    "10": "Automatic fragmentation",
    "12": "Compression: payloads",
    "13": "Compression: parameters",
}


class Verdict(enum.Enum):
    """What became of a case; the values are the suite's words, but for the last."""

    OK = "OK"
    INFORMATIONAL = "INFORMATIONAL"  # RFC 6455 leaves it open
    NON_STRICT = "NON-STRICT"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    FAILED = "FAILED"
    MISSING = "MISSING"

    @property
    def good(self) -> bool:
        return self in (Verdict.OK, Verdict.INFORMATIONAL)

    def __str__(self) -> str:
        word = str(self.value)
        return word if self is Verdict.OK else word.lower()


class Result(NamedTuple):
    """The verdict on a case, and why it isn't better."""

    case: str
    verdict: Verdict
    reason: str = ""

    @property
    def section(self) -> str:
        return self.case.partition(".")[0]


def judge(case: str, found: Mapping[str, Any] | None) -> Result:
    """Judge what stands about *case* in the suite's index; None if nothing does.

    The suite judges what was echoed and how the connection was closed. The worse of the two counts.
    """
    if found is None:
        return Result(case, Verdict.MISSING, "it isn't in the report")
    behavior, close = found["behavior"], found["behaviorClose"]
    reason = f"behavior {behavior}, close {close}, code received {found['remoteCloseCode']}"
    if behavior == "INFORMATIONAL":  # then so is how it was closed
        return Result(case, Verdict.INFORMATIONAL)
    if behavior == "UNIMPLEMENTED":
        return Result(case, Verdict.UNIMPLEMENTED, reason)
    if close != "OK":  # WRONG CODE, UNCLEAN, FAILED BY CLIENT, FAILED
        return Result(case, Verdict.FAILED, reason)
    if behavior in ("OK", "NON-STRICT"):
        return Result(case, Verdict(behavior), "" if behavior == "OK" else reason)
    return Result(case, Verdict.FAILED, reason)


def read(reports: Path, agent: str, cases: Sequence[str]) -> list[Result]:
    """Judge *cases* by the reports that the suite wrote into a directory."""
    try:
        index: dict[str, Any] = json.loads((reports / "index.json").read_text()).get(agent, {})
    except FileNotFoundError:
        index = {}
    results = [judge(case, index.get(case)) for case in cases]
    return [
        result if result.verdict.good else result._replace(reason=_with_details(result, reports))
        for result in results
    ]


def _with_details(result: Result, reports: Path) -> str:
    found = sorted(reports.glob(f"*_case_{result.case.replace('.', '_')}.json"))
    if not found:
        return result.reason
    details = cast("dict[str, str]", json.loads(found[0].read_text()))
    return f"{result.reason}: {details['result']} {details['resultClose']}"


def counts(results: Sequence[Result]) -> str:
    """Write how many there are of each verdict: ``514 OK, 3 informational``."""
    counted = collections.Counter(result.verdict for result in results)
    return ", ".join(f"{counted[verdict]} {verdict}" for verdict in Verdict if counted[verdict])


def versions(suite: str) -> str:
    ours = ("anyio-ws", "anyio", "h11", "trio", "uvloop")
    named = [f"{name} {importlib.metadata.version(name)}" for name in ours]
    return f"{suite.replace('==', ' ')}; Python {platform.python_version()}, {', '.join(named)}"


def write_rst(path: Path, runs: Mapping[str, Sequence[Result]], suite: str) -> None:
    """Write the results of *runs*, by their names, as a part of a page."""
    lines = [
        ".. Written by python -m tests.conformance.autobahn --rst; not by hand.",
        "",
        f"Measured on {datetime.date.today()}: {versions(suite)}.",
        "",
        ".. list-table::",
        "   :header-rows: 1",
        "   :stub-columns: 1",
        "",
        *_row(["Section", "Cases", *runs]),
    ]
    everything = next(iter(runs.values()))
    for number, name in SECTIONS.items():
        size = sum(result.section == number for result in everything)
        if size:
            found = [
                counts([result for result in results if result.section == number])
                for results in runs.values()
            ]
            lines += _row([f"{number}. {name}", str(size), *found])
    lines += _row(["All", str(len(everything)), *map(counts, runs.values())])
    path.write_text("\n".join(lines) + "\n")


def _row(cells: Sequence[str]) -> list[str]:
    return [f"   {'*' if not i else ' '} - {cell}" for i, cell in enumerate(cells)]
