"""The sessions a maintainer runs. Using the project, or passing its tests, needs none of them.

Versions stand in ``pyproject.toml`` only; ``lowest`` reads them from there.
"""

import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "types", "tests", "docs"]

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


@nox.session(python=PYTHONS)
@nox.parametrize("codec", ["compiled", "pure"], ids=["compiled", "pure"])
def tests(session: nox.Session, codec: str) -> None:
    """Run the tests: nox -s tests -- tests/sansio -k frames; nox -s "tests-3.11(pure)"."""
    session.install("-e", ".[test]")
    if codec == "compiled":
        session.run("python", "-c", "import anyio_ws.sansio._codec")  # if it isn't, why it isn't
    environment = {"ANYIO_WS_PURE_PYTHON": "1" if codec == "pure" else "0"}
    session.run("python", "-m", "pytest", *session.posargs, env=environment)


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
    extras = project["optional-dependencies"]
    declared = project["dependencies"] + extras["trio"] + extras["socks"]
    session.install("-e", ".[test]", *(bound.replace(">=", "==") for bound in declared))
    session.run("python", "-m", "pip", "list")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def sanitize(session: nox.Session) -> None:
    """Run tests with AddressSanitizer and UBSan in the compiled codec: nox -s sanitize -- tests/sansio.

    It takes gcc, with its libraries for both.
    """
    flags = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1 -g"
    warnings = "-Wall -Wextra -Wshadow -Werror"
    build = {"CC": "gcc", "CFLAGS": f"{flags} {warnings}", "LDFLAGS": flags}
    # In a copy: what is built so can't be loaded without the preparations below.
    copy = Path(session.create_tmp(), "checkout").resolve()
    shutil.rmtree(copy, ignore_errors=True)
    leave = shutil.ignore_patterns(".*", "*.so", "build", "dist", "_build", "__pycache__")
    shutil.copytree(Path(__file__).parent, copy, ignore=leave)
    session.install("-e", f"{copy}[test]", env=build)
    command = ["gcc", "-print-file-name=libasan.so"]
    library = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    environment = {
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter keeps much to its end
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # or else small objects have no borders
    }
    session.chdir(copy)
    session.run("python", "-c", "import anyio_ws.sansio._codec", env=environment)
    what = session.posargs or ["tests/sansio"]
    session.run("python", "-m", "pytest", "-p", "no:cacheprovider", *what, env=environment)


@nox.session
def wheels(session: nox.Session) -> None:
    """Build dist/, look through it, and run what is there in bare environments, with a compiler and without.

    Then those tests that need all of a checkout run in what the sdist holds: nox -s wheels -- tests runs all.
    """
    project = nox.project.load_toml("pyproject.toml")
    session.install(*nox.project.dependency_groups(project, "release"))
    dist = Path("dist")
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist))
    (sdist,) = dist.glob("*.tar.gz")
    (wheel,) = dist.glob("*.whl")
    session.run("twine", "check", "--strict", str(sdist), str(wheel))
    # W009: that there is one name at the top only. check_wheel knows which there are.
    session.run("check-wheel-contents", "--ignore", "W009", str(wheel))
    check_wheel(session, wheel)
    check_sdist(session, sdist)
    for package, environment, expected in (
        (wheel, {"CC": "false"}, "compiled"),
        (sdist, {}, "compiled"),
        (sdist, {"CC": "false"}, "pure Python (not compiled)"),
    ):
        run_bare(session, package, environment, expected)
    test_sdist(session, sdist)


def committed(session: nox.Session) -> set[str]:
    """Return the names of the files that make up the project."""
    said = session.run("git", "ls-files", external=True, silent=True)
    return set(said.splitlines())


def check_wheel(session: nox.Session, wheel: Path) -> None:
    """Compare the wheel with the package: all of it, the codec compiled, and nothing else."""
    package = {name for name in committed(session) if name.startswith("anyio_ws")}
    with zipfile.ZipFile(wheel) as archive:
        there = {name for name in archive.namelist() if ".dist-info/" not in name}
    compiled = {name for name in there if name.endswith((".so", ".pyd"))}
    wrong = sorted((there - compiled) ^ (package - {"anyio_ws/sansio/_codec.c"}))
    if wrong or [name.partition(".")[0] for name in compiled] != ["anyio_ws/sansio/_codec"]:
        session.error(f"{wheel.name} isn't the package and the codec: {wrong}, {compiled}")


def check_sdist(session: nox.Session, sdist: Path) -> None:
    """Compare the sdist with what is committed: all of it, tests and docs too, but for git's own files."""
    wanted = {name for name in committed(session) if not name.startswith(".git") or "/" in name}
    with tarfile.open(sdist) as archive:
        names = [one.name.partition("/")[2] for one in archive.getmembers() if one.isfile()]
    made = ("PKG-INFO", "setup.cfg")
    there = {name for name in names if name not in made and ".egg-info/" not in name}
    if there != wanted:
        session.error(f"{sdist.name} isn't what is committed: {sorted(there ^ wanted)}")


def run_bare(session: nox.Session, package: Path, environment: dict[str, str], codec: str) -> None:
    """Install a package where there is nothing, and run an echo and the demo."""
    bare = Path(session.create_tmp(), "bare").resolve()
    python = str(bare / ("Scripts/python" if os.name == "nt" else "bin/python"))
    echo = str(Path("docs", "samples", "echo.py").resolve())
    what = f"{package.name} with {environment}"

    def run(*command: str) -> str:
        # -I: not what is in the present directory
        return session.run(python, "-I", *command, silent=True, external=True, env=environment)

    session.run("python", "-m", "venv", "--clear", str(bare))
    run("-m", "pip", "install", "-q", "--no-cache-dir", str(package))
    said = run("-m", "anyio_ws", "--version")
    if f"codec: {codec}" not in said.splitlines():
        session.error(f"{what}: not {codec}, but\n{said}")
    if (said := run(echo)) != "hello\n":
        session.error(f"{what}: the echo is\n{said}")
    run("-m", "pip", "install", "-q", "--no-cache-dir", f"{package.resolve()}[demo]")
    for backend in ("asyncio", "trio"):
        code = (
            f"import anyio, runpy; anyio.run(runpy.run_path({echo!r})['main'], backend={backend!r})"
        )
        if (said := run("-c", code)) != "hello\n":
            session.error(f"{what}: the echo on {backend} is\n{said}")
        said = run("-m", "anyio_ws", "demo", "--plain", "--seconds", "3", "--backend", backend)
        if not all(feed in said for feed in ("cpu", "memory", "network")):
            session.error(f"{what}: the demo on {backend} shows\n{said}")


def test_sdist(session: nox.Session, sdist: Path) -> None:
    """Run tests in what the sdist holds."""
    unpacked = Path(session.create_tmp(), "unpacked").resolve()
    shutil.rmtree(unpacked, ignore_errors=True)
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (directory,) = unpacked.iterdir()
    session.install("-e", f"{directory}[test]")
    session.chdir(directory)
    what = session.posargs or sorted(map(str, Path("tests").glob("test_*.py")))
    session.run("python", "-m", "pytest", "-q", "-n", "auto", *what)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style; nox -s lint -- --fix mends what can be mended."""
    session.install("-e", ".[lint]")
    fix = "--fix" in session.posargs
    session.run("ruff", "check", *(["--fix"] if fix else []))
    session.run("ruff", "format", *([] if fix else ["--check"]))


@nox.session
def types(session: nox.Session) -> None:
    """Check the types, with both checkers that users have; and that every public one is known."""
    session.install("-e", ".[types]")
    session.run("mypy")
    session.run("pyright")
    found = {"PYTHONPATH": os.getcwd()}  # which what is installed to be edited isn't, by pyright
    session.run("pyright", "--verifytypes", "anyio_ws", "--ignoreexternal", env=found)


@nox.session
@nox.parametrize(
    "beside", ["trio", "nothing", "trio-typing"], ids=["trio", "nothing", "trio-typing"]
)
def downstream(session: nox.Session, beside: str) -> None:
    """Check users' programs with the library installed: beside trio, without it, and beside trio-typing.

    trio has had types of its own since 0.23. Who still has trio-typing has stubs of an older trio instead:
    they must not break ours.
    """
    project = nox.project.load_toml("pyproject.toml")
    checkers = [
        one
        for one in project["project"]["optional-dependencies"]["types"]
        if one.startswith(("mypy", "pyright"))
    ]
    stubs = nox.project.dependency_groups(project, "trio-typing") if beside == "trio-typing" else []
    trio = "" if beside == "nothing" else "trio,"
    session.install(f".[{trio}msgspec,pydantic]", *checkers, *stubs)
    leave = shutil.ignore_patterns("__pycache__", *(["on_trio.py"] if beside == "nothing" else []))
    with tempfile.TemporaryDirectory() as outside:  # where no configuration of ours is found
        programs = shutil.copytree(Path("tests", "typing"), Path(outside, "programs"), ignore=leave)
        session.chdir(programs)
        session.run("mypy", "--strict", ".")
        if (
            beside == "trio-typing"
        ):  # which is for mypy: pyright doesn't understand what it says of nurseries
            Path(programs, "on_trio.py").unlink()
        session.run("pyright")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into docs/_build/html, and check that its links lead somewhere."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")
    session.run("python", "docs/check_links.py", "docs/_build/html")


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
def interop(session: nox.Session) -> None:
    """Run tests with nginx, HAProxy, squid, curl, Chromium, node's ws and others: nox -s interop -- -k nginx.

    What isn't installed is left out, with a line; with ANYIO_WS_INTEROP=all in the environment it fails.
    """
    session.install("-e", ".[test]")
    environment = {"ANYIO_WS_INTEROP": os.environ.get("ANYIO_WS_INTEROP", "found")}
    session.run(
        *("python", "-m", "pytest", "-rs", "tests/interop", *session.posargs), env=environment
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
    """Measure speed: nox -s bench -- --quick, or -- echo core; benchmarks/README.md says more."""
    session.install("-e", ".[bench]")
    session.run("python", "benchmarks", *session.posargs)
