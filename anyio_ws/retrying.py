"""Whether to connect again, and when: the policy, and the counting that it is asked with.

Nothing here connects. A policy has no state: what has failed in a row is counted by `Retries`, one for each
loop.
"""

from __future__ import annotations

import inspect
import logging
import math
import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from http import HTTPStatus
from random import random
from typing import Final, TypeAlias

import anyio

from .exceptions import (
    ConnectError,
    ConnectionClosed,
    InvalidMessage,
    InvalidStatus,
    ProxyError,
)
from .sansio import CloseCode, Response
from .sansio.logs import LoggerLike
from .sansio.uri import without_credentials

__all__ = ["DecideRetry", "ReconnectFailure", "ReconnectPolicy", "Retries"]

_RETRIED_STATUSES: Final = frozenset(
    {
        int(HTTPStatus.REQUEST_TIMEOUT),
        int(HTTPStatus.TOO_EARLY),
        int(HTTPStatus.TOO_MANY_REQUESTS),
        *range(500, 600),
    }
)

_UNAUTHORIZED, _FORBIDDEN = 3000, 3003  # registered with IANA; no enumeration has them

_FATAL_CODES: Final = frozenset(
    {
        # One of the two programs is wrong, and will be again.
        int(CloseCode.PROTOCOL_ERROR),
        int(CloseCode.UNSUPPORTED_DATA),
        int(CloseCode.INVALID_DATA),
        int(CloseCode.MESSAGE_TOO_BIG),
        int(CloseCode.MANDATORY_EXTENSION),
        # The server doesn't want us.
        int(CloseCode.POLICY_VIOLATION),
        _UNAUTHORIZED,
        _FORBIDDEN,
    }
)

_HEALTHY_AFTER: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectFailure:
    """Why there is no connection, or none any more: what a policy decides about."""

    error: Exception | None
    """What `open_websocket` raised, or the `ConnectionClosed` of a connection that ended, normally or not.
    None if the connection was still open: its block was left, and the loop goes on."""
    failures: int
    """How many there were in a row, this one counted if it has an error. A connection that was open for the
    policy's ``healthy_after`` seconds, or 10 if that is a function, ends a row."""
    seconds: float
    """Since the first failure in the row."""
    lasted: float
    """Seconds that the connection was open; 0 if it couldn't be opened."""


DecideRetry: TypeAlias = Callable[[ReconnectFailure], float | None]
"""A policy: a plain function of a `ReconnectFailure` that returns how many seconds to wait before connecting
again, or None to give up. What it raises ends the loop. A `ReconnectPolicy` is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectPolicy:
    """When to connect again: exponential back-off with full jitter, unless trying again can't help.

    After the n-th failure in a row it waits a random time between 0 and ``initial * factor ** (n - 1)``, at
    most ``cap``: clients that lost a server together don't come back together. Times are seconds.

    Tried again are: what can't be reached or resolved, timeouts, TLS that breaks, an answer that breaks off
    or isn't HTTP, the HTTP statuses in ``retry_statuses``, a proxy that fails otherwise than with 407; and
    connections that ended with any code that isn't in ``fatal_codes``, or without one. Everything else is
    fatal: a certificate that isn't valid, other HTTP statuses, a server that doesn't speak WebSocket.

    :raises ValueError: a value makes no sense
    """

    initial: float = 1.0
    """The most to wait after the first failure."""
    factor: float = 2.0
    """What that grows by with each further one, at least 1."""
    cap: float = 60.0
    """The most to wait after any."""
    max_attempts: int | None = None
    """Failures in a row after which it gives up; None for no limit."""
    max_time: float | None = None
    """Since the first failure in a row: no wait begins that would end later. None for no limit."""
    max_retry_after: float = 300.0
    """The most that a server's Retry-After is honoured. That is waited, and the random time after it."""
    healthy_after: float = 10.0
    """A connection that was open for so long ends a row of failures. One that was not counts as a further
    failure: who accepts connections and drops them isn't well."""
    retry_statuses: Collection[int] = _RETRIED_STATUSES
    """HTTP statuses in answer to the handshake after which to try again: by default 408, 425, 429 and all
    from 500 to 599."""
    fatal_codes: Collection[int] = _FATAL_CODES
    """Close codes, of whoever closed first, after which not to: by default 1002, 1003, 1007, 1008, 1009,
    1010, 3000 (unauthorized) and 3003 (forbidden)."""
    retry_normal: bool = True
    """Whether to connect again after a normal close, 1000. If not, the loop ends then."""
    random: Callable[[], float] = random
    """A random number between 0 and 1."""

    def __post_init__(self) -> None:
        for name in ("initial", "cap", "max_retry_after", "healthy_after"):
            _check_number(name, getattr(self, name), 0)
        _check_number("factor", self.factor, 1)
        if self.max_time is not None:
            _check_number("max_time", self.max_time, 0)
        most = getattr(self, "max_attempts")  # noqa: B009  # not what the annotation promises
        if most is not None and not (isinstance(most, int) and most >= 1):
            raise ValueError(f"max_attempts must be None or an integer, at least 1; got {most!r}")

    def immediately(self) -> ReconnectPolicy:
        """For tests: the same policy without any waiting."""
        return replace(self, initial=0, cap=0, max_retry_after=0)

    def __call__(self, failure: ReconnectFailure) -> float | None:
        """Return how many seconds to wait before connecting again, or None to give up.

        Where the block of a healthy connection was left while it was open, there is nothing to wait for.
        """
        if failure.error is None:
            return 0.0 if failure.lasted >= self.healthy_after else self._delay(1)
        if not self.retries(failure.error):
            return None
        if self.max_attempts is not None and failure.failures >= self.max_attempts:
            return None
        delay = self._delay(failure.failures)
        response = _response(failure.error)
        if response is not None:
            delay += min(response.retry_after or 0, self.max_retry_after)
        if self.max_time is not None and failure.seconds + delay > self.max_time:
            return None
        return delay

    def retries(self, error: Exception) -> bool:
        """Whether *error* is worth another attempt, however many there were."""
        match error:
            case ConnectionClosed():
                code = _code(error)
                if code == CloseCode.NORMAL_CLOSURE:
                    return self.retry_normal
                return code not in self.fatal_codes
            case InvalidStatus():
                return error.response.status_code in self.retry_statuses
            case ProxyError():
                response = _response(error)
                return response is None or (
                    response.status_code != HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
                )
            case ConnectError():
                return not isinstance(error.__cause__, ssl.SSLCertVerificationError)
            case InvalidMessage() | TimeoutError():
                return True  # a server that is being stopped breaks off within its answer
            case _:
                return False

    def _delay(self, failures: int) -> float:
        try:
            most = min(self.cap, self.initial * self.factor ** (failures - 1))
        except OverflowError:
            most = self.cap if self.initial else 0
        return self.random() * most


def _check_policy(policy: object) -> None:
    """Refuse what can't be asked, before the first failure has to find out."""
    if not callable(policy) or isinstance(policy, type) or inspect.iscoroutinefunction(policy):
        raise TypeError(f"policy must be a ReconnectPolicy or a plain function, not {policy!r}")


def _check_number(name: str, value: object, least: float) -> None:
    if not (isinstance(value, int | float) and least <= value < math.inf):
        raise ValueError(f"{name} must be a number, at least {least}; got {value!r}")


def _code(closed: ConnectionClosed) -> int:
    """The code of whoever closed first; the other end only echoes it."""
    rcvd, sent = closed.rcvd, closed.sent
    first = sent if rcvd is None or (sent is not None and not closed.rcvd_then_sent) else rcvd
    return CloseCode.ABNORMAL_CLOSURE if first is None else first.code


def _response(error: Exception) -> Response | None:
    """What a server, or a proxy, answered instead of connecting us."""
    response: object = getattr(error, "response", None)
    return response if isinstance(response, Response) else None


class Retries:
    """What has failed in a row in one loop, and what its policy says about it."""

    def __init__(self, url: str, policy: DecideRetry, logger: LoggerLike | None) -> None:
        """Not for users. Raises `TypeError` for what is no policy."""
        _check_policy(policy)
        self._shown = without_credentials(url).partition("?")[0]  # a query may be a secret
        self._policy = policy
        self._healthy_after = (
            policy.healthy_after if isinstance(policy, ReconnectPolicy) else _HEALTHY_AFTER
        )
        self._logger = logger or logging.getLogger("anyio_ws.client")
        self._begin = 0.0
        self.failures: int = 0
        """How many there were in a row."""
        self.error: Exception | None = None
        """Of the last failure."""
        self.delay: float = 0.0
        """Seconds to wait before the next attempt."""

    def failed(self, error: Exception | None, lasted: float = 0.0) -> bool:
        """Count a failure and ask the policy; whether to try again, after `delay` seconds.

        *error* and *lasted* are as in `ReconnectFailure`.
        """
        now = anyio.current_time()
        was_open = error is None or isinstance(error, ConnectionClosed)
        if was_open and lasted >= self._healthy_after:
            self.failures = 0
        if error is not None:
            self.failures += 1
        if self.failures <= 1:
            self._begin = now
        self.error = error
        delay = self._policy(
            ReconnectFailure(
                error=error, failures=self.failures, seconds=now - self._begin, lasted=lasted
            )
        )
        if delay is None:
            return False
        _check_number("what a policy returns", delay, 0)
        self.delay = delay
        return True

    async def wait(self) -> None:
        """Wait before the next attempt, and say so in the log. Cancelling only ends the waiting."""
        if self.error is not None:
            self._logger.info(
                "connecting to %s again in %.1f seconds (failures in a row: %d): %s",
                self._shown,
                self.delay,
                self.failures,
                self.error,
            )
        await anyio.sleep(self.delay)
