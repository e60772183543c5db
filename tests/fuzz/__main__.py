"""``python -m tests.fuzz``: fuzz each target, guided by coverage, from its seeds; atheris must be installed.

Each target runs in a process of its own, because the fuzzer ends the process. What it finds new goes into a
corpus beside the seeds, and the next run begins with it. An input that breaks something is written to a file.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

LIMITS: Final = {"server-handshake": 2**15, "client-handshake": 2**15}
"""Bytes that an input may have, where it isn't 4 KiB: a whole head, and one that is too long."""

TIMEOUT: Final = 20
"""Seconds for one execution, where milliseconds are usual."""

MEMORY: Final = 1024
"""MiB that the process may have."""


def main() -> int:
    """Return 0 if nothing was found."""
    arguments = parse()
    if arguments.inside is not None:
        fuzz(arguments.inside, arguments.rest)
        return 0
    from .seeds import SEEDS

    targets = arguments.targets or list(SEEDS)
    unknown = [name for name in targets if name not in SEEDS]
    if unknown:
        print(
            f"no such target: {', '.join(unknown)}; there are {', '.join(SEEDS)}", file=sys.stderr
        )
        return 2
    directory = arguments.directory or Path(tempfile.mkdtemp(prefix="anyio-ws-fuzz-"))
    failed = [
        name
        for name in targets
        if not run(name, SEEDS[name], directory, runs=arguments.runs, seed=arguments.seed)
    ]
    if failed:
        names = ", ".join(failed)
        print(
            f"\nfound something, or not come to the end: {names}; logs and inputs are in {directory}"
        )
    return 1 if failed else 0


def run(name: str, seeds: list[bytes], directory: Path, *, runs: int, seed: int) -> bool:
    """Fuzz one target; return whether it did all *runs* and found nothing."""
    corpus = directory / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for data in seeds:
        (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
    log = directory / name / "log"
    command = [
        *(sys.executable, "-m", "tests.fuzz", "--inside", name),
        *(f"-runs={runs}", f"-seed={seed}", f"-max_len={LIMITS.get(name, 2**12)}"),
        *(f"-timeout={TIMEOUT}", f"-rss_limit_mb={MEMORY}", "-print_final_stats=1"),
        *(f"-artifact_prefix={directory / name}/", str(corpus)),
    ]
    begin = time.monotonic()
    with log.open("w") as output:
        status = subprocess.run(command, stdout=output, stderr=output).returncode
    said = log.read_text(errors="replace")
    executed = int((re.findall(r"number_of_executed_units: (\d+)", said) or ["0"])[-1])
    good = status == 0 and executed >= runs
    print(
        f"{name}: {executed} executions in {time.monotonic() - begin:.0f} s, seed {seed}, "
        f"{len(seeds)} seeds, {len(list(corpus.iterdir()))} inputs in the corpus: "
        + ("nothing found" if good else f"FAILED with {status}"),
        flush=True,
    )
    if not good:
        print("\n".join(f"    {line}" for line in said.splitlines()[-40:]))
    return good


def fuzz(name: str, options: list[str]) -> None:
    """Be the process in which a target is fuzzed; doesn't return."""
    atheris: Any = importlib.import_module("atheris")  # it has no types
    with atheris.instrument_imports(include=["anyio_ws.sansio", "anyio_ws.exceptions", "h11"]):
        from .targets import TARGETS
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Fuzz the protocol, guided by coverage."
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: all")
    parser.add_argument("--runs", type=int, default=10**6, help="executions of each target")
    parser.add_argument("--seed", type=int, default=1, help="of the fuzzer's random choices")
    parser.add_argument("--directory", type=Path, help="for corpora, logs and what was found")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments, rest = parser.parse_known_args()
    if arguments.inside is None and rest:
        parser.error(f"unknown options: {' '.join(rest)}")
    arguments.rest = [*rest, *arguments.targets]
    return arguments


if __name__ == "__main__":
    sys.exit(main())
