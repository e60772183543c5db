"""The diagrams, as SVG: some drawn from what the program and its tests go by, so they can't differ from it.

Plain functions of plain data, which need nothing but the standard library: the tests look at what they draw.
Every box and every arrow says in ``data-`` attributes what it stands for.

Colours and typefaces are variables of the theme, which follow light and dark; elsewhere it is the text's own
colour.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from html import escape
from typing import Any, NamedTuple

__all__ = ["draw_chain", "draw_layers", "draw_sequence", "draw_states"]

WIDTH = 760

STYLE = """
.drawing { width: 100%; height: auto; max-width: 760px; display: block; margin: 1.5rem auto }
.drawing text { fill: var(--color-foreground-primary, currentColor) }
.drawing text { font: 12px var(--font-stack, sans-serif) }
.drawing .code { font: 11.5px var(--font-stack--monospace, monospace) }
.drawing .name { font-weight: 600; font-size: 13.5px }
.drawing .note { fill: var(--color-foreground-secondary, currentColor); font-size: 11.5px }
.drawing rect { fill: var(--color-background-secondary, none) }
.drawing rect { stroke: var(--color-foreground-border, currentColor) }
.drawing path { fill: none; stroke: var(--color-foreground-muted, currentColor); stroke-width: 1.3 }
.drawing .shelf { stroke: var(--color-foreground-border, currentColor) }
.drawing .shelf { stroke-width: 1; stroke-dasharray: 2 4 }
.drawing .dot { fill: var(--color-brand-primary, currentColor); stroke: none }
.drawing marker path { fill: var(--color-foreground-muted, currentColor); stroke: none }
""".strip()


def _picture(name: str, title: str, height: float, parts: Sequence[str]) -> str:
    arrow = (
        f'<marker id="{name}-arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0 L8,4 L0,8 z"/></marker>'
    )
    return "\n".join(
        [
            f'<svg class="drawing" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" '
            f'role="img" aria-labelledby="{name}-title">',
            f'<title id="{name}-title">{escape(title)}</title>',
            f"<style>{STYLE}</style>",
            f"<defs>{arrow}</defs>",
            *parts,
            "</svg>",
        ]
    )


def _data(**values: str) -> str:
    return "".join(f' data-{name}="{escape(value)}"' for name, value in values.items())


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start", **data: str) -> str:
    place = f'x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}"'
    return f"<text {place}{_data(**data)}>{escape(text)}</text>"


def _path(d: str, kind: str = "", arrow: str = "", **data: str) -> str:
    end = f' marker-end="url(#{arrow}-arrow)"' if arrow else ""
    return f'<path d="{d}" class="{kind}"{end}{_data(**data)}/>'


def _box(x: float, y: float, width: float, height: float, **data: str) -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"{_data(**data)}/>'
    )


# The layers.

RAIL = 19
"""Between the lines of two rooms."""

HEAD = 34
LINE = 16
SPACE = 6
"""Between two shelves, on top."""

GAP = 14
"""Between two rooms."""

LETTER = 6.95
"""Width of one, at most, in a list of modules."""


class _Room(NamedTuple):
    name: str
    rules: Any
    lines: list[list[list[str]]]
    """Its shelves from the top, as lines of modules."""
    y: float

    @property
    def height(self) -> float:
        return HEAD + LINE * sum(map(len, self.lines)) + SPACE * (len(self.lines) - 1) + 8


def draw_layers(
    rooms: Mapping[str, Any], shelves: Sequence[tuple[str, str]], modules: Collection[str]
) -> str:
    """Draw the rooms from the top to the bottom, with their modules, and who may import from whom.

    Each room that others may import from has a line of its own, which comes down from them and ends in an
    arrow there. Who may import from it is connected with that line by a dot.

    :param rooms: by name, from the bottom to the top, each as ``tests/layers.py`` has it
    :param shelves: of what room and with which modules, from the bottom to the top
    :param modules: all that there are, to find those that a shelf has by a pattern
    """
    used = [name for name in rooms if any(name in one.below for one in rooms.values())]
    rails = {name: 10 + RAIL * number for number, name in enumerate(used)}
    left = 10 + RAIL * len(used) + 14
    listed = _listed(shelves, modules)
    placed: dict[str, _Room] = {}
    y = 6.0
    for name, rules in reversed(list(rooms.items())):
        own = [names for room, names in reversed(listed) if room == name]
        lines = [_wrapped(_short(names, name), WIDTH - left - 32) for names in own]
        placed[name] = _Room(name, rules, lines, y)
        y += placed[name].height + GAP
    parts: list[str] = []
    for name, x in rails.items():
        users = [one.y for one in placed.values() if name in one.rules.below]
        start, end = min(users) + 24, placed[name].y + 12
        for one in placed.values():
            if name in one.rules.below:
                d = f"M{left:g},{one.y + 24:g} H{x:g}"
                parts.append(_path(d))
        d = f"M{x:g},{start:g} V{end - 6:g} q0,6 6,6 H{left - 1:g}"
        parts.append(_path(d, arrow="layers", rail=name))
    for name, x in rails.items():
        for one in placed.values():
            if name in one.rules.below:
                parts.append(
                    f'<circle class="dot" cx="{x:g}" cy="{one.y + 24:g}" r="4"'
                    f"{_data(above=one.name, below=name)}/>"
                )
    for one in placed.values():
        parts += _room_parts(one, left)
    return _picture("layers", "The rooms, their modules, and who may import from whom", y, parts)


def _room_parts(one: _Room, left: float) -> list[str]:
    parts = [_box(left, one.y, WIDTH - left - 1, one.height, room=one.name)]
    parts.append(_text(left + 14, one.y + 22, one.name, "name"))
    parts.append(_text(WIDTH - 14, one.y + 22, _note(one.rules), "note", "end"))
    y = one.y + HEAD + 8
    for number, shelf in enumerate(one.lines):
        if number:
            y += SPACE
            parts.append(_path(f"M{left + 14:g},{y - 14.5:g} H{WIDTH - 14}", "shelf"))
        for line in shelf:
            names = "  ".join(line)
            parts.append(_text(left + 14, y, names, "code", of=one.name, modules=" ".join(line)))
            y += LINE
    return parts


def _note(rules: Any) -> str:
    notes = ["no I/O"] if rules.no_io else []
    if rules.public_only:
        notes.append("public names only")
    return " · ".join([*notes, *sorted(rules.libraries)])


def _listed(
    shelves: Sequence[tuple[str, str]], modules: Collection[str]
) -> list[tuple[str, list[str]]]:
    """The modules of each shelf: as they are written there; for a pattern, those that no shelf before has."""
    found: list[tuple[str, list[str]]] = []
    seen: set[str] = set()
    for room, patterns in shelves:
        names: list[str] = []
        for pattern in patterns.split():
            matching = sorted(name for name in modules if fnmatchcase(name, pattern))
            names += [name for name in matching or [pattern] if name not in seen]
            seen.update(names)
        found.append((room, names))
    return found


def _short(names: Sequence[str], room: str) -> list[str]:
    """Without the name of the room's package; the package itself, and the topmost, by their full names."""
    return ["anyio_ws" if name == "." else name.removeprefix(f"{room}.") for name in names]


def _wrapped(names: Sequence[str], width: float) -> list[list[str]]:
    lines: list[list[str]] = [[]]
    for name in names:
        if lines[-1] and LETTER * len("  ".join([*lines[-1], name])) > width:
            lines.append([])
        lines[-1].append(name)
    return lines


# The states.

BOX = 118
BOX_HEIGHT = 64
BESIDE = 32
"""Between two arrows that lead the same way."""

LANE = 34
"""Between two arrows that pass below."""


def draw_states(transitions: Mapping[Any, Mapping[Any, Any]]) -> str:
    """Draw a table of states, from the left to the right in its order; none leads backwards.

    What leads to the next one is a straight arrow, what leads further passes below. A state that leads
    nowhere has two borders.
    """
    states = list(transitions)
    step = (WIDTH - 2 - BOX) / (len(states) - 1)
    left = {state: 1 + step * number for number, state in enumerate(states)}
    top = 16.0
    parts: list[str] = []
    straight: dict[tuple[Any, Any], list[Any]] = {}
    passing: list[tuple[int, Any, Any, Any]] = []
    for before, row in transitions.items():
        for trigger, after in row.items():
            span = states.index(after) - states.index(before)
            if span == 1:
                straight.setdefault((before, after), []).append(trigger)
            else:
                passing.append((span, before, trigger, after))
    for (before, after), triggers in straight.items():
        for number, trigger in enumerate(triggers):
            y = top + BOX_HEIGHT / 2 + BESIDE * (number - (len(triggers) - 1) / 2) + 4
            start, end = left[before] + BOX, left[after]
            parts.append(_arrow(f"M{start:g},{y:g} H{end - 1:g}", before, trigger, after))
            parts.append(_label((start + end) / 2 - 3, y - 7, trigger))
    passing.sort(key=lambda one: one[0])
    arrived: dict[Any, int] = {}
    bottom = top + BOX_HEIGHT
    for lane, (_, before, trigger, after) in enumerate(passing, 1):
        number = arrived[after] = arrived.get(after, 0) + 1
        start, end = left[before] + BOX / 2, left[after] + BOX * number / (len(passing) + 1)
        y = bottom + LANE * lane
        d = f"M{start:g},{bottom:g} V{y - 8:g} q0,8 8,8 H{end - 8:g} q8,0 8,-8 V{bottom + 1:g}"
        parts.append(_arrow(d, before, trigger, after))
        parts.append(_label((start + end) / 2, y - 7, trigger))
    for state, x in left.items():
        parts.append(_box(x, top, BOX, BOX_HEIGHT, state=state.name))
        if not transitions[state]:
            parts.append(_box(x + 4, top + 4, BOX - 8, BOX_HEIGHT - 8))
        parts.append(_text(x + BOX / 2, top + BOX_HEIGHT / 2 + 4, state.name, "name", "middle"))
    height = bottom + LANE * len(passing) + 12
    return _picture(
        "states", "The states of a connection, and what leads from one to another", height, parts
    )


def _arrow(d: str, before: Any, trigger: Any, after: Any) -> str:
    return _path(d, arrow="states", before=before.name, trigger=trigger.name, after=after.name)


def _label(x: float, y: float, trigger: Any) -> str:
    return _text(x, y, trigger.name, "code", "middle", label=trigger.name)


# What happens between two, and on the way from one to the other.

STEP = 40
LIFE = 196
"""From the edge to the line of a side."""


def draw_sequence(sides: tuple[str, str], steps: Sequence[tuple[str, str]]) -> str:
    """Draw what two sides send to each other, from the top to the bottom.

    :param steps: what each is, and its text: ``"->"`` and ``"<-"`` for what is sent; ``"left"`` and
        ``"right"`` for what is said about a side at the height of what was sent before
    """
    left, right = float(LIFE), float(WIDTH - LIFE)
    name = "-".join(["sequence", *" ".join(sides).split()])  # there may be several on a page
    parts: list[str] = []
    y = 40.0
    for kind, text in steps:
        if kind in ("->", "<-"):
            y += STEP
            start, end = (left, right - 1) if kind == "->" else (right, left + 1)
            parts.append(_path(f"M{start:g},{y:g} H{end:g}", arrow=name, sent=text))
            parts.append(_text(WIDTH / 2, y - 8, text, "code", "middle"))
        elif kind == "left":
            parts.append(_text(left - 14, y + 4, text, "note", "end"))
        else:
            parts.append(_text(right + 14, y + 4, text, "note"))
    height = y + 24
    lines = [_path(f"M{x:g},36 V{height - 4:g}", "shelf") for x in (left, right)]
    for x, side in ((left, sides[0]), (right, sides[1])):
        lines.append(_box(x - 80, 4, 160, 32))
        lines.append(_text(x, 24, side, "name", "middle"))
    title = f"What {sides[0]} and {sides[1]} send to each other"
    return _picture(name, title, height, [*lines, *parts])


def draw_chain(title: str, links: Sequence[tuple[str, str]]) -> str:
    """Draw what follows what, from the left to the right: the name of each, and what is said below it."""
    gap = 20.0
    width = (WIDTH - 2 - gap * (len(links) - 1)) / len(links)
    parts: list[str] = []
    for number, (name, note) in enumerate(links):
        x = 1 + number * (width + gap)
        if number:
            parts.append(_path(f"M{x - gap:g},26 H{x - 1:g}", arrow="chain"))
        parts.append(_box(x, 6, width, 40))
        parts.append(_text(x + width / 2, 31, name, "code", "middle"))
        for line, words in enumerate(note.split(", ")):
            parts.append(_text(x + width / 2, 64 + LINE * line, words, "note", "middle"))
    lines = max(len(note.split(", ")) for _, note in links)
    return _picture("chain", title, 60 + LINE * lines, parts)
