"""The pytest plugin of anyio_ws: one fixture, `anyio_ws_virtual_time`.

It is a module beside the package and not one of it: pytest imports its plugins at every start, wherever they
are installed, and whoever imports a module of the package imports all of it. This one imports nothing
but pytest until a test asks for the fixture, and does nothing to tests that don't ask.

PYTEST_DONT_REWRITE: there is no assertion in it.
"""

from __future__ import annotations

from typing import Any

import pytest

__all__ = ["anyio_ws_virtual_time"]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give the test a backend with a virtual clock, a new one, in place of its own.

    Others who run tests have loops of their own, and their marks. The fixture can't tell: it runs in AnyIO's.
    """
    if "anyio_ws_virtual_time" in getattr(item, "fixturenames", ()):
        for other in ("asyncio", "trio"):
            if item.config.pluginmanager.hasplugin(other) and item.get_closest_marker(other):
                pytest.fail(
                    f"this test would run in real time: pytest-{other} runs it, and not AnyIO's plugin",
                    pytrace=False,
                )
        callspec = getattr(item, "callspec", None)
        if callspec is not None and "anyio_backend" in callspec.params:
            callspec.params["anyio_backend"] = _virtual(callspec.params["anyio_backend"])


def _virtual(backend: str | tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    from anyio_ws.testing import virtual_clock_backend

    name, options = (backend, {}) if isinstance(backend, str) else backend
    if options.get("use_uvloop"):
        pytest.skip("uvloop's clock can't be replaced by a virtual one")
    name, clock = virtual_clock_backend(name)
    return name, options | clock


@pytest.fixture
async def anyio_ws_virtual_time(anyio_backend: object) -> None:
    """Run the test on virtual time: it stands still while a task can run, then jumps to the next deadline.

    The test runs by AnyIO's plugin, on the backends that it has anyway; on uvloop it is skipped. The clock
    starts at 0.0. The cautions of ``anyio_ws.testing.VirtualClockEventLoop`` hold.
    """
    from anyio_ws.testing.clocks import time_is_virtual

    if not time_is_virtual():
        pytest.fail(
            "this test would run in real time: its anyio_backend must be a fixture with params that returns "
            "request.param, as AnyIO's is; and its async fixtures must have the scope of a test",
            pytrace=False,
        )
