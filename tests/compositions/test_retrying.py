"""What is tried again, and when: the policy of reconnecting, by itself."""

from __future__ import annotations

import dataclasses
import math
import ssl
from typing import Any

import pytest

from anyio_ws import (
    Close,
    ConnectError,
    ConnectionClosed,
    ConnectionClosedError,
    Headers,
    InvalidHandshake,
    InvalidHeader,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
    NegotiationError,
    ProtocolError,
    ProxyError,
    ReconnectFailure,
    ReconnectPolicy,
    Response,
)

REFUSED = ConnectError("refused", 111)


def failure(
    error: Exception | None = REFUSED,
    failures: int = 1,
    *,
    seconds: float = 0,
    lasted: float = 0,
) -> ReconnectFailure:
    return ReconnectFailure(error=error, failures=failures, seconds=seconds, lasted=lasted)


def policy(*, random: float = 1.0, **fields: Any) -> ReconnectPolicy:
    return ReconnectPolicy(random=lambda: random, **fields)


def status(code: int, *headers: tuple[str, str]) -> InvalidStatus:
    return InvalidStatus(Response(code, "", Headers(headers)))


def closed(code: int) -> ConnectionClosed:
    return ConnectionClosedError(Close(code), Close(code), True)


def because(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


RETRIED: list[Exception] = [
    REFUSED,
    ConnectError("unresolvable"),
    because(ConnectError("TLS failed"), ssl.SSLError("wrong version")),
    TimeoutError("open_timeout"),
    InvalidMessage("the connection ended before the response was complete"),
    ProxyError("the proxy can't reach it"),
    *map(status, [408, 425, 429, 500, 502, 503, 504, 599]),
    *map(closed, [1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014, 3008, 4000]),
    ConnectionClosedError(None, None),
    ConnectionClosedError(None, Close(1011, "ping timeout")),
    ConnectionClosedError(Close(1002), Close(1001), False),
]

FATAL: list[Exception] = [
    because(ConnectError("certificate verify failed"), ssl.SSLCertVerificationError("expired")),
    InvalidURI("ws:///", "no host"),
    InvalidHeader("Upgrade"),
    NegotiationError("a subprotocol that wasn't offered"),
    InvalidHandshake("something else"),
    ProtocolError("misuse"),
    FileNotFoundError("something else"),
    *map(status, [200, 302, 400, 401, 403, 404, 407, 410, 426]),
    *map(closed, [1002, 1003, 1007, 1008, 1009, 1010, 3000, 3003]),
    ConnectionClosedError(None, Close(1009, "too long")),
    ConnectionClosedError(Close(1001), Close(1009), False),
    ConnectionClosedError(Close(1008), Close(1001), True),
]


@pytest.mark.parametrize("error", RETRIED, ids=repr)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert policy()(failure(error)) == 1
    assert policy().retries(error)


@pytest.mark.parametrize("error", FATAL, ids=repr)
def test_what_will_not_pass_is_fatal(error: Exception) -> None:
    assert policy()(failure(error)) is None
    assert not policy().retries(error)


@pytest.mark.parametrize(("code", "retried"), [(407, False), (403, True), (502, True)])
def test_a_proxy_that_wants_a_password_is_fatal(code: int, retried: bool) -> None:
    assert policy().retries(ProxyError("no", Response(code, ""))) is retried


def test_statuses_and_codes_can_be_chosen() -> None:
    own = policy(retry_statuses={404}, fatal_codes=[4001], retry_normal=False)
    assert [own.retries(one) for one in (status(404), status(503))] == [True, False]
    assert [own.retries(closed(code)) for code in (4001, 1008, 1000)] == [False, True, False]


def test_the_back_off_grows_up_to_its_cap() -> None:
    own = policy(initial=0.5, factor=3, cap=20)
    delays = [own(failure(failures=number)) for number in (1, 2, 3, 4, 5, 6, 10_000)]
    assert delays == [0.5, 1.5, 4.5, 13.5, 20, 20, 20]
    assert policy(initial=0, cap=20)(failure(failures=10_000)) == 0
    assert policy(factor=1)(failure(failures=10_000)) == 1


def test_the_jitter_is_full() -> None:
    for drawn in (0.0, 0.25, 0.999):
        assert policy(random=drawn)(failure(failures=4)) == drawn * 8
    delays = [ReconnectPolicy()(failure(failures=3)) for _ in range(1000)]
    assert all(delay is not None and 0 <= delay < 4 for delay in delays)
    assert len(set(delays)) > 900


def test_it_gives_up_after_so_many_failures() -> None:
    own = policy(max_attempts=3)
    assert [own(failure(failures=number)) for number in (1, 2, 3, 4)] == [1, 2, None, None]


def test_it_gives_up_rather_than_wait_beyond_its_time() -> None:
    own = policy(max_time=10)
    assert own(failure(failures=3, seconds=6)) == 4
    assert own(failure(failures=3, seconds=6.1)) is None


def test_retry_after_comes_before_the_back_off_and_has_a_bound() -> None:
    def asked(value: str) -> InvalidStatus:
        return status(503, ("Retry-After", value))

    own = policy(max_retry_after=100)
    assert own(failure(asked("30"), 2)) == 32
    assert own(failure(asked("0"), 2)) == 2
    assert own(failure(asked("soon"), 2)) == 2
    assert own(failure(asked("5000"), 2)) == 102
    assert policy(max_time=10)(failure(asked("30"))) is None


def test_who_leaves_an_open_connection_waits_only_if_it_was_young() -> None:
    own = policy(initial=0.5, healthy_after=3, max_attempts=1)
    assert own(failure(None, 0, lasted=3)) == 0
    assert own(failure(None, 5, lasted=2.9)) == 0.5


def test_without_any_waiting_it_decides_the_same() -> None:
    own = policy(max_attempts=3).immediately()
    assert own(failure(status(503, ("Retry-After", "30")))) == 0
    assert own(failure(None)) == 0
    assert own(failure(failures=3)) is None
    assert own(failure(status(404))) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"initial": -1},
        {"initial": math.nan},
        {"initial": math.inf},
        {"initial": "1"},
        {"factor": 0.5},
        {"cap": -1},
        {"cap": None},
        {"max_attempts": 0},
        {"max_attempts": 1.5},
        {"max_time": -1},
        {"max_retry_after": -1},
        {"healthy_after": -1},
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    (name,) = fields
    with pytest.raises(ValueError, match=f"{name} must be"):
        ReconnectPolicy(**fields)


def test_a_policy_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ReconnectPolicy().cap = 1  # type: ignore[misc]  # that is the point
