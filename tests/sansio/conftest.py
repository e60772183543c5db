"""The modules that ask for the fixture ``codec`` run once on every codec that there is."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest

from .codecs import CODECS, running_on


# Of module scope, since hypothesis runs many examples in one test.
@pytest.fixture(scope="module", params=CODECS)
def codec(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The codec under test, which is used everywhere meanwhile."""
    module = CODECS[request.param]
    with running_on(module):
        yield module
