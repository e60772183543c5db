"""What every promise is held over."""

from __future__ import annotations

import ssl

import pytest

from .links import Link


@pytest.fixture(params=["sockets", "tls", "streams"])
def link(
    request: pytest.FixtureRequest,
    client_ssl_context: ssl.SSLContext,
    server_ssl_context: ssl.SSLContext,
) -> Link:
    """What connects the two ends: a pair of sockets, TLS over one, or streams in memory."""
    return Link(request.param, client_ssl_context, server_ssl_context)
