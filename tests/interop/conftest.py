"""Which tests with other people's programs are run, and what they share.

In an ordinary run of the tests only the quick ones are, with what is found on the machine. ``nox -s interop``
runs all.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trustme

from .browser import Browser, browser
from .forward_proxies import PROGRAMS, Way, way_through
from .programs import VERSIONS, WANTED, need, version
from .proxies import AT_ONCE, PROXIES, Proxy, proxy

SLOW = [
    "test_chromium.py",
    "test_demo_page.py",
    "test_node.py",
    "test_proxy_timeouts.py",
    "test_service.py",
]

collect_ignore = [] if WANTED else SLOW


def pytest_report_header() -> list[str]:
    versions = {program: version(program) for program in VERSIONS}
    found = [f"{program} {number}" for program, number in versions.items() if number]
    missing = [program for program, number in versions.items() if not number]
    return [
        f"interop: {', '.join(found)}",
        *([f"interop: not installed, left out: {', '.join(missing)}"] if missing else []),
    ]


NEEDS = {"chromium": ["chromium"], "ws_of_node": ["node", "npm"], "url": ["node", "npm"]}
"""The programs that a fixture can't do without."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    # Before the fixtures: one that several tests share would leave each of them out with a line of its own.
    assert isinstance(item, pytest.Function)
    for fixture in item.fixturenames:
        for program in NEEDS.get(fixture, ()):
            need(program)
        if fixture in ("running_proxy", "impatient"):
            need(str(item.callspec.params[fixture]).lower())
        if fixture == "forward":
            need(PROGRAMS[str(item.callspec.params[fixture])])


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser, for tests that each open pages of their own."""
    with browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture(scope="module", params=PROXIES)
def running_proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ca: trustme.CA
) -> Iterator[Proxy]:
    """A proxy, for tests that each run a server of their own on its `Proxy.upstream`."""
    name: str = request.param
    with proxy(name, tmp_path_factory.mktemp(name), ca, AT_ONCE[name]) as running:
        yield running


_QUICK = ["squid over TLS", "tinyproxy that asks", "microsocks that asks", "Dante"]


@pytest.fixture(scope="module", params=PROGRAMS if WANTED else _QUICK)
def forward(request: pytest.FixtureRequest, ca: trustme.CA) -> Iterator[Way]:
    """A proxy that leads from clients to servers."""
    with way_through(request.param, ca) as way:
        yield way
