"""A little fuzzing with every test run, and proof that it would find something.

``nox -s fuzz`` does much more of it, guided by coverage.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from anyio_ws.exceptions import InvalidHandshake
from anyio_ws.sansio import Headers, _pure_codec, client, frames, headers, messages, server
from anyio_ws.sansio.codec import apply_mask
from anyio_ws.sansio.extensions import inflate

from .mutation import explore, inputs
from .seeds import SEEDS
from .targets import TARGETS, Broken

EXECUTIONS = {
    "frames": 3000,
    "server-handshake": 1500,
    "client-handshake": 1500,
    "extension-header": 10_000,
    "inflater": 5000,
}
"""A second or two for each, on an idle machine."""

every_target = pytest.mark.parametrize("name", TARGETS)


def test_every_target_has_seeds_and_a_share_of_the_time() -> None:
    assert set(TARGETS) == set(SEEDS) == set(EXECUTIONS)


@every_target
def test_no_seed_and_no_mutation_of_one_breaks_a_target(name: str) -> None:
    finding = explore(TARGETS[name], SEEDS[name], executions=EXECUTIONS[name])
    if finding is not None:
        raise AssertionError(f"{name} breaks on {finding.data!r}") from finding.exc


def test_a_seed_gives_the_same_mutations_again() -> None:
    first, again, other = (list(inputs(SEEDS["frames"], 1000, seed)) for seed in (1, 1, 2))
    assert len(first) == 1000
    assert first == again
    assert first[: len(SEEDS["frames"])] == SEEDS["frames"]
    assert first != other


# -- what the seeds reach


def functions(owner: type) -> Iterator[types.CodeType]:
    for attribute in vars(owner).values():
        function = attribute.fget if isinstance(attribute, property) else attribute
        function = getattr(function, "__func__", function)
        if isinstance(function, types.FunctionType) and function.__module__ == owner.__module__:
            yield function.__code__


def lines_run(codes: set[types.CodeType], run: Callable[[], None]) -> set[tuple[str, int]]:
    """Return the lines of *codes* that *run* reaches, each with its function."""
    reached: set[tuple[str, int]] = set()

    def trace(frame: types.FrameType, event: str, arg: object) -> Any:
        if frame.f_code not in codes:
            return None
        reached.add((frame.f_code.co_qualname, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return reached


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (frames.FrameDecoder, "frames"),
        (messages.MessageAssembler, "frames"),
        (inflate.Inflater, "inflater"),
    ],
)
def test_the_seeds_reach_nearly_every_line(owner: type, name: str) -> None:
    codes = set(functions(owner))
    everything = {
        (code.co_qualname, line) for code in codes for *_, line in code.co_lines() if line
    }

    def replay() -> None:
        for data in SEEDS[name]:
            TARGETS[name](data)

    missed = everything - lines_run(codes, replay)
    assert len(everything) > 40
    assert len(missed) <= 0.05 * len(everything), sorted(missed)


# -- bugs, planted to be found

Plant = Callable[[pytest.MonkeyPatch], None]


def a_close_code_that_nobody_thought_of(monkeypatch: pytest.MonkeyPatch) -> None:
    valid = frames.valid_close_code

    def forgetful(code: int) -> bool:
        if 2000 <= code < 2999:
            raise KeyError(code)
        return valid(code)

    monkeypatch.setattr(frames, "valid_close_code", forgetful)


def a_mask_that_begins_anew_with_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "apply_mask", lambda data, key, offset=0: apply_mask(data, key))


def a_buffer_as_long_as_the_header_says(monkeypatch: pytest.MonkeyPatch) -> None:
    class Reserved(_pure_codec.Payload):
        def __init__(self, size: int, key: bytes | None) -> None:
            super().__init__(size, key)
            self.reserve = bytes(min(size, 2**20))

    monkeypatch.setattr(frames, "Payload", Reserved)


def a_message_that_may_be_longer_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    check = messages.MessageAssembler._check_size

    def lenient(self: messages.MessageAssembler, size: int) -> None:
        check(self, size - 1)

    monkeypatch.setattr(messages.MessageAssembler, "_check_size", lenient)


def _first(fields: Headers, name: str) -> str:
    return fields.get_all(name)[0]


def a_server_that_takes_a_header_for_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "single_header", _first)


def a_client_that_takes_a_header_for_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "single_header", _first)


def a_rejection_that_repeats_what_it_got(monkeypatch: pytest.MonkeyPatch) -> None:
    reject_for = server.ServerProtocol._reject_for

    def echoing(self: server.ServerProtocol, exc: InvalidHandshake) -> Any:
        response = reject_for(self, exc)
        response.headers._fields.append(("X-Error", f"{exc}\r\n"))
        return response

    monkeypatch.setattr(server.ServerProtocol, "_reject_for", echoing)


def a_quoted_value_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    value = headers._ExtensionScanner._value

    def careless(self: headers._ExtensionScanner) -> str:
        position = self.position
        if self._take('"'):
            while self.text[self.position] != '"':
                self.position += 1
        self.position = position
        return value(self)

    monkeypatch.setattr(headers._ExtensionScanner, "_value", careless)


def an_inflater_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = inflate.Inflater.feed

    def boundless(self: inflate.Inflater, data: bytes, max_size: int | None) -> None:
        feed(self, data, None)

    monkeypatch.setattr(inflate.Inflater, "feed", boundless)


@pytest.mark.parametrize(
    ("plant", "name", "raised"),
    [
        (a_close_code_that_nobody_thought_of, "frames", KeyError),
        (a_mask_that_begins_anew_with_each_part, "frames", Broken),
        (a_buffer_as_long_as_the_header_says, "frames", Broken),
        (a_message_that_may_be_longer_by_one, "frames", Broken),
        (a_server_that_takes_a_header_for_granted, "server-handshake", IndexError),
        (a_rejection_that_repeats_what_it_got, "server-handshake", Broken),
        (a_client_that_takes_a_header_for_granted, "client-handshake", IndexError),
        (a_quoted_value_that_never_ends, "extension-header", IndexError),
        (an_inflater_without_a_limit, "inflater", Broken),
    ],
)
def test_a_planted_bug_is_found(
    plant: Plant, name: str, raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    finding = explore(TARGETS[name], SEEDS[name], executions=10 * EXECUTIONS[name])
    assert finding is not None
    assert type(finding.exc) is raised
    with pytest.raises(raised):
        TARGETS[name](finding.data)


def test_mutation_finds_what_no_seed_does(monkeypatch: pytest.MonkeyPatch) -> None:
    a_close_code_that_nobody_thought_of(monkeypatch)
    for data in SEEDS["frames"]:
        TARGETS["frames"](data)
    finding = explore(TARGETS["frames"], SEEDS["frames"], executions=10 * EXECUTIONS["frames"])
    assert finding is not None
    assert finding.executions > len(SEEDS["frames"])
