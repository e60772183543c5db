"""The pytest plugin, `anyio_ws_pytest`, in suites that aren't ours: with AnyIO's plugin as it is."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

TESTS = """
import anyio
import pytest

@pytest.mark.anyio
async def test_real():
    assert anyio.current_time() > 0
    begin = anyio.current_time()
    await anyio.sleep(0.001)
    assert 0 < anyio.current_time() - begin < 10

@pytest.fixture
async def begin(anyio_backend):
    return anyio.current_time()

@pytest.mark.parametrize("seconds", [3600, 7200])
async def test_virtual(anyio_ws_virtual_time, begin, seconds):
    assert begin == 0
    await anyio.sleep(seconds)
    assert anyio.current_time() == seconds

@pytest.mark.anyio
async def test_real_again():
    await test_real()

@pytest.mark.usefixtures("anyio_ws_virtual_time")
class TestMany:
    async def test_one(self):
        assert anyio.current_time() == 0
        await anyio.sleep(1e6)

    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    async def test_on_one_backend(self, anyio_backend_name):
        assert anyio_backend_name == "asyncio"
        assert anyio.current_time() == 0

    @pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], ids=["uvloop"])
    async def test_on_uvloop(self):
        raise AssertionError

    def test_sync(self):
        pass
"""

CONSTANT = """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"

async def test_one(anyio_ws_virtual_time):
    raise AssertionError
"""

WIDER = """
import pytest

@pytest.fixture(scope="module")
async def wider():
    yield

@pytest.mark.anyio
async def test_real(wider):
    pass

async def test_one(wider, anyio_ws_virtual_time):
    raise AssertionError
"""

NEITHER = """
import sys

def test_nothing():
    assert "anyio_ws" not in sys.modules
"""


def test_time_is_virtual_for_those_who_ask_and_real_for_the_others(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyprojecttoml(
        '[tool.pytest.ini_options]\nfilterwarnings = ["error"]\naddopts = "--strict-markers"\n'
    )
    pytester.makepyfile(
        test_it=TESTS, test_constant=CONSTANT, test_wider=WIDER, test_neither=NEITHER
    )
    # The order as it is, so that real and virtual alternate, and the last file is the first.
    options = ["-p", "anyio_ws_pytest", "-p", "no:randomly", "-p", "no:timeout", "-rA"]
    files = ["test_neither.py", "test_it.py", "test_constant.py", "test_wider.py"]
    result = pytester.runpytest_subprocess(*options, *files)
    result.assert_outcomes(passed=1 + 2 * 6 + 1 + 2, skipped=1, errors=1 + 2)
    output = result.stdout.str()
    assert "uvloop's clock can't be replaced" in output
    assert output.count("this test would run in real time") >= 3


OTHERS = """
import pytest

def pytest_configure(config):
    config.pluginmanager.register(object(), "asyncio")
    config.addinivalue_line("markers", "asyncio: as pytest-asyncio's")
    config.addinivalue_line("markers", "trio: not pytest-trio's, which isn't there")
"""

MARKED = """
import anyio
import pytest

@pytest.mark.asyncio
async def test_of_another_plugin(anyio_ws_virtual_time):
    raise AssertionError

@pytest.mark.trio
async def test_with_a_mark_of_that_name(anyio_ws_virtual_time):
    await anyio.sleep(3600)
"""


def test_what_another_plugin_runs_would_run_in_real_time(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(OTHERS)
    pytester.makepyfile(MARKED)
    options = ["-p", "anyio_ws_pytest", "-p", "no:randomly", "-p", "no:timeout", "-rA"]
    result = pytester.runpytest_subprocess(*options)
    result.assert_outcomes(passed=2, errors=2)
    assert "pytest-asyncio runs it, and not AnyIO's plugin" in result.stdout.str()


def test_it_imports_nothing_but_pytest() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import anyio_ws_pytest; "
        "print(*(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.split() == ["anyio_ws_pytest"]


def test_pytest_finds_it_where_the_library_is_installed() -> None:
    """By the name that a conftest.py would use: a module can't be registered by two."""
    settings = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text())
    name = "anyio_ws_pytest"
    assert settings["project"]["entry-points"]["pytest11"] == {name: name}
    assert settings["tool"]["setuptools"]["py-modules"] == [name]
