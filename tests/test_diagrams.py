"""The diagrams of the documentation show what they are drawn from: all of it, and nothing else."""

from __future__ import annotations

import enum
import runpy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

import anyio_ws
from anyio_ws.sansio.state import TRANSITIONS

from .layers import ROOMS, SHELVES, modules, room

DOCS = Path(anyio_ws.__file__).parent.parent / "docs"
DRAWINGS = runpy.run_path(str(DOCS / "_ext" / "drawings.py"))

draw_layers: Callable[..., str] = DRAWINGS["draw_layers"]
draw_states: Callable[..., str] = DRAWINGS["draw_states"]

MODULES = modules(Path(anyio_ws.__file__).parent)

Picture = ElementTree.Element


def having(picture: Picture, name: str) -> Iterator[Picture]:
    """The parts that have the ``data-`` attribute *name*."""
    return (part for part in picture.iter() if f"data-{name}" in part.attrib)


def full_names(picture: Picture) -> Iterator[str]:
    """The modules that are shown, by their names within the package."""
    for line in having(picture, "modules"):
        for name in line.attrib["data-modules"].split():
            inside = f"{line.attrib['data-of']}.{name}"
            yield inside if inside in MODULES else {"anyio_ws": "."}.get(name, name)


def test_every_module_is_shown_once() -> None:
    picture = ElementTree.fromstring(draw_layers(ROOMS, SHELVES, MODULES))
    shown = list(full_names(picture))
    assert len(shown) == len(set(shown))
    assert set(shown) - set(MODULES) == {"_codec"}  # which is compiled
    assert set(MODULES) <= set(shown)


def test_every_room_is_shown_with_those_that_it_may_import_from() -> None:
    picture = ElementTree.fromstring(draw_layers(ROOMS, SHELVES, MODULES))
    assert {part.attrib["data-room"] for part in having(picture, "room")} == set(ROOMS)
    dots = {
        (dot.attrib["data-above"], dot.attrib["data-below"]) for dot in having(picture, "above")
    }
    assert dots == {(name, below) for name, rules in ROOMS.items() for below in rules.below}


def test_a_dot_is_where_the_two_lines_meet() -> None:
    """The one of the room above, at the height of its box; and the one that ends in an arrow below."""
    picture = ElementTree.fromstring(draw_layers(ROOMS, SHELVES, MODULES))
    boxes = {box.attrib["data-room"]: box.attrib for box in having(picture, "room")}
    rails = {rail.attrib["data-rail"]: rail.attrib["d"] for rail in having(picture, "rail")}
    for dot in having(picture, "above"):
        x, y = dot.attrib["cx"], float(dot.attrib["cy"])
        above = boxes[dot.attrib["data-above"]]
        assert float(above["y"]) < y < float(above["y"]) + float(above["height"])
        assert rails[dot.attrib["data-below"]].startswith(f"M{x},")


def test_another_room_and_another_module_are_shown_too() -> None:
    rooms = {"low": room(""), "high": room("low", "anyio")}
    shelves = [("low", "a low.*"), ("high", "b")]
    picture = ElementTree.fromstring(draw_layers(rooms, shelves, ["a", "b", "low.c", "low.d"]))
    shown = {line.attrib["data-modules"] for line in having(picture, "modules")}
    assert shown == {"a c d", "b"}
    (dot,) = having(picture, "above")
    assert (dot.attrib["data-above"], dot.attrib["data-below"]) == ("high", "low")


class Light(enum.Enum):
    RED = enum.auto()
    GREEN = enum.auto()
    BROKEN = enum.auto()


class Event(enum.Enum):
    SECONDS_PASSED = enum.auto()
    BUTTON = enum.auto()
    HAIL = enum.auto()


LIGHTS = {
    Light.RED: {
        Event.SECONDS_PASSED: Light.GREEN,
        Event.BUTTON: Light.GREEN,
        Event.HAIL: Light.BROKEN,
    },
    Light.GREEN: {Event.HAIL: Light.BROKEN},
    Light.BROKEN: {},
}


@pytest.mark.parametrize("table", [TRANSITIONS, LIGHTS], ids=["connection", "other"])
def test_every_state_and_every_transition_is_shown(
    table: Mapping[enum.Enum, Mapping[enum.Enum, enum.Enum]],
) -> None:
    picture = ElementTree.fromstring(draw_states(table))
    assert [part.attrib["data-state"] for part in having(picture, "state")] == [
        state.name for state in table
    ]
    arrows = {
        tuple(arrow.attrib[f"data-{end}"] for end in ("before", "trigger", "after"))
        for arrow in having(picture, "trigger")
    }
    expected = [
        (before.name, trigger.name, after.name)
        for before, row in table.items()
        for trigger, after in row.items()
    ]
    assert arrows == set(expected)
    labels = [label.text for label in having(picture, "label")]
    assert sorted(map(str, labels)) == sorted(trigger for _, trigger, _ in expected)


def test_no_label_covers_another_one() -> None:
    picture = ElementTree.fromstring(draw_states(TRANSITIONS))
    places = [(float(one.attrib["x"]), float(one.attrib["y"])) for one in having(picture, "label")]
    for number, (x, y) in enumerate(places):
        assert all(abs(x - other) > 80 or abs(y - below) > 14 for other, below in places[:number])


def test_a_picture_names_itself_and_lies_within_its_frame() -> None:
    for svg in (draw_layers(ROOMS, SHELVES, MODULES), draw_states(TRANSITIONS)):
        picture = ElementTree.fromstring(svg)
        _, _, width, height = map(float, picture.attrib["viewBox"].split())
        title = picture.find("{*}title")
        assert title is not None
        assert title.text
        for part in picture.iter():
            x, y = (any_number(part, "x"), any_number(part, "y"))
            assert 0 <= x + any_number(part, "width") <= width or part is picture
            assert 0 <= y + any_number(part, "height") <= height or part is picture


def any_number(part: Picture, name: str) -> float:
    try:
        return float(part.attrib.get(name, 0))
    except ValueError:
        return 0.0
