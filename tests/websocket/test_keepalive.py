"""The policy of the keepalive by itself: told the time, it says what is due."""

from __future__ import annotations

import pytest

from anyio_ws.keepalive import Due, Keepalive
from anyio_ws.options import ServerConfig


def keepalive(
    interval: float | None = 20,
    patience: float | None = 10,
    *,
    write: float | None = None,
    received: int = 0,
) -> Keepalive:
    """The policy of a connection that is opened at 100."""
    config = ServerConfig(ping_interval=interval, ping_timeout=patience, write_timeout=write)
    return Keepalive(config, 100.0, received)


def test_a_ping_is_due_after_an_interval_of_silence_and_once() -> None:
    policy = keepalive()
    assert policy.alarm == 120
    assert policy.due(119, 0, 0) is Due.NOTHING
    assert policy.due(120, 0, 0) is Due.PING
    assert policy.alarm is None  # until it has left
    assert policy.due(1000, 0, 0) is Due.NOTHING


def test_what_was_received_before_it_was_opened_is_no_sign_of_life() -> None:
    assert keepalive(received=500).due(120, 500, 0) is Due.PING


def test_the_interval_begins_with_the_last_byte() -> None:
    policy = keepalive()
    policy.heard(115)
    assert policy.due(120, 1, 0) is Due.NOTHING
    assert policy.alarm == 135
    assert policy.due(135, 1, 0) is Due.PING


def test_the_timeout_begins_when_the_ping_has_left() -> None:
    policy = keepalive()
    policy.due(120, 0, 0)
    policy.ping_left(150)
    assert policy.alarm == 160
    assert policy.due(159.9, 0, 0) is Due.NOTHING
    assert policy.due(160, 0, 0) is Due.PEER_IS_SILENT


def test_any_byte_answers_even_at_the_very_moment_when_the_ping_left() -> None:
    policy = keepalive()
    policy.due(120, 0, 0)
    policy.ping_left(120)
    policy.heard(120)
    assert policy.due(130, 1, 0) is Due.NOTHING
    assert policy.alarm == 140


@pytest.mark.parametrize("latency", [1, 19, 20, 21, 39, 40, 41, 89])
def test_a_timeout_longer_than_the_interval_delays_no_ping(latency: float) -> None:
    policy = keepalive(20, 90)
    policy.due(120, 0, 0)
    policy.ping_left(120)
    answered = 120 + latency
    while (when := policy.alarm) is not None and when < answered:
        assert policy.due(when, 0, 0) is Due.NOTHING
    policy.heard(answered)
    while (when := policy.alarm) is not None and when < answered + 20:
        assert policy.due(when, 1, 0) is Due.NOTHING
    assert when == answered + 20
    assert policy.due(answered + 20, 1, 0) is Due.PING


def test_a_peer_that_never_answers_has_the_whole_of_a_timeout_longer_than_the_interval() -> None:
    policy = keepalive(20, 50)
    policy.due(120, 0, 0)
    policy.ping_left(120)
    for when in (140, 160):
        assert policy.alarm == when
        assert policy.due(when, 0, 0) is Due.NOTHING
    assert policy.alarm == 170
    assert policy.due(170, 0, 0) is Due.PEER_IS_SILENT


def test_what_was_heard_before_the_ping_left_is_no_answer() -> None:
    policy = keepalive()
    policy.due(120, 0, 0)
    policy.heard(125)
    policy.ping_left(125)
    assert policy.due(135, 1, 0) is Due.PEER_IS_SILENT


@pytest.mark.parametrize("phase", ["listening", "waiting"])
def test_bytes_that_are_only_a_part_of_a_record_are_a_sign_of_life(phase: str) -> None:
    policy = keepalive()
    if phase == "waiting":
        policy.due(120, 0, 0)
        policy.ping_left(120)
    when = policy.alarm
    assert when is not None
    assert policy.due(when, 7, 0) is Due.NOTHING
    assert policy.alarm == when + 20


def test_while_reading_is_paused_nothing_is_due() -> None:
    policy = keepalive()
    policy.paused()
    assert policy.alarm is None
    assert policy.due(10_000, 0, 0) is Due.NOTHING
    policy.resumed(10_000)
    assert policy.alarm == 10_020


def test_after_a_pause_a_pinged_peer_has_the_full_timeout_again() -> None:
    policy = keepalive()
    policy.due(120, 0, 0)
    policy.ping_left(120)
    policy.paused()
    policy.resumed(129)
    assert policy.alarm == 139
    assert policy.due(139, 0, 0) is Due.PEER_IS_SILENT


def test_a_ping_that_leaves_during_a_pause_waits_from_its_end() -> None:
    policy = keepalive()
    policy.due(120, 0, 0)
    policy.paused()
    policy.ping_left(125)
    assert policy.due(200, 0, 0) is Due.NOTHING
    policy.resumed(200)
    assert policy.alarm == 210


def test_resuming_what_was_not_paused_changes_nothing() -> None:
    policy = keepalive()
    policy.resumed(110)
    assert policy.alarm == 120


def test_without_an_interval_nothing_is_ever_due() -> None:
    policy = keepalive(None)
    assert policy.alarm is None
    assert policy.due(10_000, 0, 0) is Due.NOTHING


def test_without_a_timeout_pings_go_on_and_nobody_is_condemned() -> None:
    policy = keepalive(patience=None)
    for when in (120, 140, 160):
        assert policy.alarm == when
        assert policy.due(when, 0, 0) is Due.PING
        policy.ping_left(when)


class TestOutput:
    def test_that_waits_may_do_so_for_ever_by_default(self) -> None:
        policy = keepalive(None)
        assert not policy.output_waits(100, 0)
        assert policy.alarm is None

    def test_is_stuck_when_it_made_no_progress_for_the_limit(self) -> None:
        policy = keepalive(None, write=5)
        assert policy.output_waits(110, 1000)
        assert not policy.output_waits(112, 1000)  # that's known
        assert policy.alarm == 115
        assert policy.due(114, 0, 1000) is Due.NOTHING
        assert policy.due(115, 0, 1000) is Due.OUTPUT_IS_STUCK

    def test_that_makes_progress_has_the_limit_again(self) -> None:
        policy = keepalive(None, write=5)
        policy.output_waits(110, 1000)
        assert policy.due(115, 0, 1001) is Due.NOTHING
        assert policy.alarm == 120
        assert policy.due(120, 0, 1001) is Due.OUTPUT_IS_STUCK

    def test_that_has_left_has_no_limit(self) -> None:
        policy = keepalive(None, write=5)
        policy.output_waits(110, 1000)
        policy.output_left()
        assert policy.alarm is None
        assert policy.due(1000, 0, 1000) is Due.NOTHING

    def test_the_nearer_of_two_alarms_is_the_next(self) -> None:
        policy = keepalive(write=5)
        policy.output_waits(110, 0)
        assert policy.alarm == 115
        policy.output_left()
        assert policy.alarm == 120


@pytest.mark.parametrize("name", ["ping_interval", "ping_timeout", "write_timeout"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), "20"])
def test_a_time_that_makes_no_sense_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        ServerConfig(**{name: value})  # type: ignore[arg-type]  # on purpose
