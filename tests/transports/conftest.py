"""What the tests of transports share."""

from __future__ import annotations

import ssl

import pytest

from ..conftest import BACKENDS, Backend
from .kinds import TLS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if _exists(item)]


def _exists(item: pytest.Item) -> bool:
    """Not every kind of transport or stream is there on every backend: a parameter may tell."""
    callspec = getattr(item, "callspec", None)
    params = callspec.params if callspec is not None else {}
    return all(
        _named(params["anyio_backend"]) in value.backends
        for value in params.values()
        if hasattr(value, "backends")
    )


def _named(backend: Backend) -> str:
    (name,) = (name for name, known in BACKENDS.items() if known == backend)
    return name


@pytest.fixture
def tls(client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext) -> TLS:
    return TLS(client_ssl_context, server_ssl_context)
