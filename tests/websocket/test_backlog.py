"""What waits for a connection, and the policies: against a model that keeps a plain list."""

from __future__ import annotations

from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
from hypothesis import given

from anyio_ws.backlog import OVERHEAD, Backlog, Delivery, Overflow
from anyio_ws.sansio.prepared import PreparedMessage
from anyio_ws.turnstile import Turnstile

LIMIT = 10 * OVERHEAD


class Outlet:
    """A connection that has room for as many messages as it is told."""

    def __init__(self) -> None:
        self.turnstile = Turnstile(lambda: False)
        self.room = 0
        self.taken: list[PreparedMessage | str] = []
        self.called_back = 0

    def has_room(self) -> bool:
        return self.room > 0

    def take_over(self, message: PreparedMessage) -> None:
        self.room -= 1
        self.taken.append(message)

    def moved(self) -> None:
        pass

    def call_back(self) -> None:
        self.called_back += 1


class Sender:
    """A task that waits to send, without the task."""

    def __init__(self, outlet: Outlet, name: str) -> None:
        self.outlet = outlet
        self.name = name
        outlet.turnstile.join(self)

    def set(self) -> None:
        if self.outlet.room > 0:
            self.outlet.room -= 1
            self.outlet.taken.append(self.name)
            self.outlet.turnstile.leave(self)


@dataclass
class Entry:
    what: PreparedMessage | str
    size: int = 0
    overflow: Overflow | None = None
    key: str | None = None


class Model:
    """The same, in the most obvious way."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    @property
    def size(self) -> int:
        return sum(one.size for one in self.entries)

    @property
    def count(self) -> int:
        return sum(1 for one in self.entries if one.overflow)

    def add(self, new: Entry, limit: int) -> Delivery:
        for one in self.entries:
            if (
                new.overflow == "coalesce"
                and one.overflow == "coalesce"
                and one.key == new.key is not None
                and self.size - one.size + new.size <= limit
            ):
                one.what, one.size = new.what, new.size
                return Delivery.QUEUED
        delivery = Delivery.QUEUED
        if new.overflow == "drop_oldest":
            while self.size + new.size > limit and any(
                one.overflow == "drop_oldest" for one in self.entries
            ):
                oldest = next(one for one in self.entries if one.overflow == "drop_oldest")
                self.entries.remove(oldest)
                delivery = Delivery.DISPLACED
            if self.size + new.size > limit and self.count and delivery is Delivery.QUEUED:
                return Delivery.DROPPED
        elif self.size + new.size > limit:
            return Delivery.DROPPED if new.overflow == "drop" else Delivery.DISCONNECTED
        self.entries.append(new)
        return delivery


policies: st.SearchStrategy[Overflow] = st.sampled_from(
    ["disconnect", "drop", "drop_oldest", "coalesce"]
)


@dataclass
class Add:
    overflow: Overflow
    size: int
    key: str | None


@dataclass
class Room:
    """There is room for so many messages."""

    messages: int


class Arrives:
    """A task comes that wants to send."""


Steps = list[Add | Room | Arrives]

steps: st.SearchStrategy[Steps] = st.lists(
    st.one_of(
        st.builds(Add, policies, st.integers(0, 3 * OVERHEAD), st.sampled_from([None, "a", "b"])),
        st.builds(Room, st.integers(1, 6)),
        st.builds(Arrives),
    ),
    max_size=60,
)


@given(steps=steps, limit=st.sampled_from([-1, 0, 2 * OVERHEAD, LIMIT]))
def test_it_does_what_a_list_would_do(steps: Steps, limit: int) -> None:
    outlet, model = Outlet(), Model()
    backlog = Backlog(outlet)
    expected: list[PreparedMessage | str] = []
    for number, step in enumerate(steps):
        if isinstance(step, Add):
            message = PreparedMessage(bytes(step.size))
            delivery = backlog.add(message, step.overflow, limit, step.key)
            entry = Entry(message, step.size + OVERHEAD, step.overflow, step.key)
            assert delivery is model.add(entry, limit)
        elif isinstance(step, Room):
            outlet.room = step.messages
            expected += [one.what for one in model.entries[: outlet.room]]
            del model.entries[: outlet.room]
            outlet.turnstile.wake()
            outlet.room = 0
        else:
            name = f"sender {number}"
            Sender(outlet, name)
            model.entries.append(Entry(name))
        assert outlet.taken == expected
        assert (backlog.count, backlog.size) == (model.count, model.size)
        assert backlog.size <= max(limit, 0) + 4 * OVERHEAD, "one more than fits, at most"
        assert backlog.bytes == sum(one.size - OVERHEAD for one in model.entries if one.overflow)
    outlet.room = 1000
    outlet.turnstile.wake()
    assert outlet.taken == expected + [one.what for one in model.entries]
    assert outlet.turnstile.queue == []


@given(steps=steps)
def test_of_each_key_only_the_newest_waits_and_nothing_else_is_lost(steps: Steps) -> None:
    outlet = Outlet()
    backlog = Backlog(outlet)
    newest: dict[str, PreparedMessage] = {}
    without: list[PreparedMessage | str] = []
    for step in steps:
        if isinstance(step, Add):
            message = PreparedMessage(bytes(step.size))
            assert backlog.add(message, "coalesce", 2**20, step.key) is Delivery.QUEUED
            if step.key is None:
                without.append(message)
            else:
                newest[step.key] = message
    outlet.room = 1000
    outlet.turnstile.wake()
    assert set(outlet.taken) == {*newest.values(), *without}
    assert [one for one in outlet.taken if one in without] == without


@pytest.mark.parametrize("everything", ["clear", "commit_all"])
def test_clearing_or_committing_everything_leaves_no_place_in_the_queue(everything: str) -> None:
    outlet = Outlet()
    backlog = Backlog(outlet)
    messages = [PreparedMessage(str(number)) for number in range(3)]
    for message in messages:
        backlog.add(message, "drop_oldest", LIMIT, None)
        Sender(outlet, "waits")
    getattr(backlog, everything)()
    assert (backlog.count, backlog.size) == (0, 0)
    assert outlet.taken == ([] if everything == "clear" else messages)
    assert len(outlet.turnstile.queue) == 3


def test_it_lets_a_task_that_has_just_passed_commit_its_message_first() -> None:
    outlet = Outlet()
    backlog = Backlog(outlet)
    backlog.add(PreparedMessage("later"), "disconnect", LIMIT, None)
    outlet.room = 1
    outlet.turnstile.passing = True
    outlet.turnstile.wake()
    assert (outlet.taken, outlet.called_back) == ([], 1)


def test_a_thousand_newer_ones_cost_no_more_than_one_behind_a_message_that_may_not_be_dropped() -> (
    None
):
    """What was dropped leaves nothing behind, however long the head of the queue stays."""
    import tracemalloc

    outlet = Outlet()
    backlog = Backlog(outlet)
    backlog.add(PreparedMessage("stays"), "disconnect", LIMIT, None)

    def add(number: int) -> int:
        for _ in range(number):
            backlog.add(PreparedMessage("x"), "drop_oldest", LIMIT, None)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        add(100)
        before = add(1)
        assert add(1000) - before < 4000
    finally:
        tracemalloc.stop()
    assert backlog.count == 9
