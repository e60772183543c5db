"""What conftest promises the other tests: a check that never fails says nothing."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

CONFTEST = Path(__file__).with_name("conftest.py").read_text()

LEAKY = """
import asyncio, socket
import anyio, pytest

kept = []

def test_descriptor_sync():
    kept.append(socket.socket())

async def test_descriptor():
    kept.append(socket.socket())

@pytest.fixture
async def listener(anyio_backend):
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        yield listener

async def test_nothing(listener):
    client = await anyio.connect_tcp(*listener.extra(anyio.abc.SocketAttribute.local_address))
    await client.aclose()

async def test_task(anyio_backend_name):
    if anyio_backend_name == "trio":
        import trio
        trio.lowlevel.spawn_system_task(trio.sleep_forever)
    else:
        kept.append(asyncio.create_task(asyncio.sleep(3600)))

async def test_unclosed_and_forgotten():
    stream = socket.socket()
    stream.bind(("127.0.0.1", 0))
    del stream
"""


def test_leaked_tasks_and_descriptors_fail_the_test_that_leaked_them(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\nfilterwarnings = ["error"]\n')
    pytester.makepyfile(LEAKY)
    result = pytester.runpytest_subprocess("-p", "no:randomly", "-rA")
    # Three backends: what leaks passes first, and is failed by what runs after it.
    result.assert_outcomes(passed=13 - 3, failed=3, errors=7)
    output = result.stdout.str()
    for name, left in {
        "test_descriptor_sync": "socket:",
        "test_descriptor[uvloop]": "socket:",
        "test_task[asyncio]": "sleep",
        "test_task[trio]": "sleep_forever",
    }.items():
        assert left in output.split(f"ERROR at teardown of {name}")[1].split("ERROR at")[0]


async def test_virtual_time_jumps_over_every_wait(virtual_time: None) -> None:
    begin = anyio.current_time()
    with anyio.move_on_after(3600) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert anyio.current_time() - begin == 3600


@pytest.mark.parametrize(
    ("fixtures", "backends"),
    [("", ["asyncio", "uvloop", "trio"]), ("virtual_time", ["asyncio", "trio"])],
)
def test_every_backend_is_collected_that_has_the_clock(
    pytester: pytest.Pytester, fixtures: str, backends: list[str]
) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(f"async def test_it({fixtures}): ...")
    items, _ = pytester.inline_genitems()
    assert [item.name for item in items] == [f"test_it[{backend}]" for backend in backends]
