"""What was found, as a table on the terminal, as JSON, and as a page's part for the documentation."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from promise_parts import PARTS, PROMISES, Finding, Part
from promise_peers import Driver

WORDS = {True: "kept", False: "broken", None: "-"}
P10 = "P10"
BASE = ("anyio", "trio")
"""What the libraries run on; their versions are reported as well."""


@dataclass(slots=True)
class Results:
    """What each part found about each library."""

    parts: Sequence[Part]
    drivers: Sequence[Driver]
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict)
    errors: dict[tuple[str, str], str] = field(default_factory=dict)
    """Scenarios that failed themselves, and say nothing about a library."""

    def promises(self) -> list[str]:
        """Those that were measured, and P10 if all the others were."""
        measured = {part.promise for part in self.parts}
        wanted = {part.promise for part in PARTS}
        return [
            name for name in PROMISES if name in measured or (name == P10 and wanted == measured)
        ]

    def of(self, promise: str, driver: Driver) -> list[tuple[Part, Finding]]:
        return [
            (part, self.findings[part.id, driver.name])
            for part in self.parts
            if part.promise == promise and (part.id, driver.name) in self.findings
        ]

    def cell(self, promise: str, driver: Driver) -> Finding:
        """A promise is kept if every part of it is that applies."""
        if promise == P10:
            return self._same_on_both(driver)
        findings = self.of(promise, driver)
        failed = [key for key in self.errors if key[0].startswith(f"{promise}:")]
        if any(name == driver.name for _, name in failed):
            return Finding(None, "the scenario itself failed")
        broken = [(part, finding) for part, finding in findings if finding.kept is False]
        if broken:
            part, finding = broken[0]
            more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
            return Finding(False, f"{_prefix(self, part)}{finding.observed}{more}")
        kept = [finding.observed for _, finding in findings if finding.kept]
        if kept:
            more = f" (and {len(kept) - 1} more)" if len(kept) > 1 else ""
            return Finding(True, kept[0] + more)
        return Finding(None, findings[0][1].observed if findings else "not measured")

    def _same_on_both(self, driver: Driver) -> Finding:
        others = [
            one for one in self.drivers if one.library == driver.library and one is not driver
        ]
        if not others:
            return Finding(None, f"{driver.loop} only")
        other = others[0]
        different = [
            part
            for part in self.parts
            if part.promise != P10
            and self.findings.get((part.id, driver.name), Finding(None, "")).kept
            is not self.findings.get((part.id, other.name), Finding(None, "")).kept
        ]
        if different:
            first = f"{different[0].promise}, {different[0].name}"
            more = f" (and {len(different) - 1} more)" if len(different) > 1 else ""
            return Finding(False, f"not the same as on {other.loop}: {first}{more}")
        return Finding(True, f"every part came out as on {other.loop}")


def _prefix(results: Results, part: Part) -> str:
    siblings = [one for one in results.parts if one.promise == part.promise]
    return f"{part.name}: " if len(siblings) > 1 else ""


def versions(drivers: Sequence[Driver]) -> dict[str, str]:
    """Of each library measured, and of what is below."""
    found = {driver.package: driver.version() for driver in drivers}
    for package in BASE:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found


def print_table(results: Results) -> None:
    named = ", ".join(f"{name} {version}" for name, version in versions(results.drivers).items())
    print(f"Python {platform.python_version()}, {named}\n")
    width = max(len(driver.name) for driver in results.drivers)
    for promise in results.promises():
        print(f"{promise}  {PROMISES[promise]}")
        for driver in results.drivers:
            finding = results.cell(promise, driver)
            print(f"    {driver.name:{width}}  {WORDS[finding.kept]:6}  {finding.observed}")
        print()
    columns = [(driver.library, driver.loop) for driver in results.drivers]
    widths = [max(len(library), len(loop)) for library, loop in columns]
    for row in zip(*columns, strict=True):
        _print_row("", row, widths)
    for promise in results.promises():
        words = [WORDS[results.cell(promise, driver).kept] for driver in results.drivers]
        _print_row(promise, words, widths)


def _print_row(name: str, words: Sequence[str], widths: Sequence[int]) -> None:
    cells = (f"{word:{width}}" for word, width in zip(words, widths, strict=True))
    print("  ".join([f"{name:3}", *cells]).rstrip())


def write_json(results: Results, path: Path) -> None:
    document = {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(results.drivers),
        "promises": {
            promise: {
                "title": PROMISES[promise],
                "libraries": {
                    driver.name: {
                        "result": WORDS[results.cell(promise, driver).kept],
                        "observed": results.cell(promise, driver).observed,
                        "parts": {
                            part.name: {"result": WORDS[one.kept], "observed": one.observed}
                            for part, one in results.of(promise, driver)
                        },
                    }
                    for driver in results.drivers
                },
            }
            for promise in results.promises()
        },
        "errors": {f"{part}, {name}": said for (part, name), said in results.errors.items()},
    }
    path.write_text(json.dumps(document, indent=2) + "\n")


def write_rst(results: Results, path: Path) -> None:
    """Write what a page of the documentation includes."""
    path.write_text("\n".join(_rst(results)) + "\n")


def _rst(results: Results) -> Iterator[str]:
    named = ", ".join(f"{name} {version}" for name, version in versions(results.drivers).items())
    yield ".. Written by benchmarks/promises.py --rst; not by hand."
    yield ""
    yield f"Measured on {datetime.date.today().isoformat()}, Python {platform.python_version()}: {named}."
    yield ""
    yield ".. list-table::"
    yield "   :header-rows: 1"
    yield "   :stub-columns: 1"
    yield ""
    yield from _row("", *(f"{driver.library}, {driver.loop}" for driver in results.drivers))
    for promise in results.promises():
        cells = (results.cell(promise, driver).kept for driver in results.drivers)
        yield from _row(promise, *(_word(kept) for kept in cells))
    for promise in results.promises():
        yield from ("", f".. rubric:: {promise}. {PROMISES[promise]}", "")
        yield from (".. list-table::", "   :widths: 22 78", "   :stub-columns: 1", "")
        for driver in results.drivers:
            yield from _row(
                f"{driver.library}, {driver.loop}", *_observed(results, promise, driver)
            )


def _row(*cells: str) -> Iterator[str]:
    for index, cell in enumerate(cells):
        lines = cell.splitlines() or [""]
        start = "   * - " if index == 0 else "     - "
        yield (start + lines[0]).rstrip()
        for line in lines[1:]:
            yield f"       {line}".rstrip()


def _word(kept: bool | None) -> str:
    return "**broken**" if kept is False else WORDS[kept] if kept else "\\-"


def _observed(results: Results, promise: str, driver: Driver) -> Iterator[str]:
    findings = results.of(promise, driver)
    if not findings or len({part.name for part in results.parts if part.promise == promise}) == 1:
        cell = results.cell(promise, driver)
        yield f"{_word(cell.kept)}: {_escape(cell.observed)}"
    elif all(finding.kept is None for _, finding in findings):
        yield f"\\-: {_escape(findings[0][1].observed)}"
    else:
        yield "\n".join(
            f"| {_word(one.kept)}: {part.name}: {_escape(one.observed)}" for part, one in findings
        )


def _escape(text: str) -> str:
    return "".join(f"\\{char}" if char in "*`|_\\" else char for char in text)
