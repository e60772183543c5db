"""The sessions a maintainer runs. Using the project, or passing its tests, needs none of them.

Versions stand in ``pyproject.toml`` only; ``lowest`` reads them from there.
"""

from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "types", "tests", "docs"]

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests: nox -s tests -- tests/sansio -k frames."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def promises(session: nox.Session) -> None:
    """Test what users are promised: nox -s promises -- --repeat 20 runs each test 20 times, in random order.

    Who else keeps the promises is measured by benchmarks/promises.py.
    """
    session.install("-e", ".[test]")
    options = ["--count" if option == "--repeat" else option for option in session.posargs]
    session.run("python", "-m", "pytest", "-n", "auto", "tests/promises", *options)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Run the tests with the oldest versions that we say we work with."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    declared = project["dependencies"] + project["optional-dependencies"]["trio"]
    session.install("-e", ".[test]", *(bound.replace(">=", "==") for bound in declared))
    session.run("python", "-m", "pip", "list")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style; nox -s lint -- --fix mends what can be mended."""
    session.install("-e", ".[lint]")
    fix = "--fix" in session.posargs
    session.run("ruff", "check", *(["--fix"] if fix else []))
    session.run("ruff", "format", *([] if fix else ["--check"]))


@nox.session
def types(session: nox.Session) -> None:
    """Check the types, with both checkers that users have."""
    session.install("-e", ".[types]")
    session.run("mypy")
    session.run("pyright")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into docs/_build/html."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")


@nox.session(python=PYTHONS[0])
def conformance(session: nox.Session) -> None:
    """Run Autobahn TestSuite: nox -s conformance -- --quick --side client --backend trio 7.1.5 '6.*'.

    It needs a CPython 2.7, which $PYTHON27 may name, and a C compiler.
    """
    session.install("-e", ".[conformance]")
    directory = Path(session.virtualenv.location) / "autobahn"
    session.run(
        *("python", "-m", "tests.conformance.autobahn", "--directory", directory),
        *session.posargs,
    )


@nox.session(python=PYTHONS[0])
def fuzz(session: nox.Session) -> None:
    """Fuzz the protocol, a million executions for each target: nox -s fuzz -- frames --runs 10000.

    What it finds stays for the next run, with nox -r.
    """
    session.install("-e", ".[fuzz]")
    directory = Path(session.virtualenv.location) / "found"
    session.run("python", "-m", "tests.fuzz", "--directory", directory, *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Run the demo: nox -s demo -- --backend trio --seconds 5."""
    session.install("-e", ".[demo]")
    session.run("anyio-ws", "demo", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure speed: nox -s bench -- --quick; see benchmarks/README.md, also for benchmarks/promises.py."""
    session.install("-e", ".[bench]")
    session.run("python", "benchmarks/echo.py", *session.posargs)
