"""The state table."""

from __future__ import annotations

import pytest

from anyio_ws.sansio import Side, State
from anyio_ws.sansio.state import TRANSITIONS, ConnectionState, Trigger

LEGAL = {
    (State.CONNECTING, Trigger.OPENED): State.OPEN,
    (State.CONNECTING, Trigger.EOF): State.CLOSED,
    (State.OPEN, Trigger.CLOSE_SENT): State.CLOSING,
    (State.OPEN, Trigger.FAILED): State.CLOSING,
    (State.OPEN, Trigger.EOF): State.CLOSED,
    (State.CLOSING, Trigger.EOF): State.CLOSED,
}


def test_sides_and_states_have_the_numbers_that_are_documented() -> None:
    assert [(side.name, int(side)) for side in Side] == [("SERVER", 0), ("CLIENT", 1)]
    assert [(state.name, int(state)) for state in State] == [
        ("CONNECTING", 0),
        ("OPEN", 1),
        ("CLOSING", 2),
        ("CLOSED", 3),
    ]


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("trigger", Trigger)
def test_a_transition_is_in_the_table_or_a_bug(state: State, trigger: Trigger) -> None:
    machine = ConnectionState(state)
    if (state, trigger) in LEGAL:
        machine.process(trigger)
        assert machine.current is LEGAL[state, trigger]
    else:
        with pytest.raises(KeyError):
            machine.process(trigger)
        assert machine.current is state


def test_no_state_is_ever_left_backwards() -> None:
    steps = [(before, after) for before, row in TRANSITIONS.items() for after in row.values()]
    assert len(steps) == len(LEGAL)
    assert all(before < after for before, after in steps)
    assert set(TRANSITIONS) == set(State)
