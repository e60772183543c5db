"""Directives for diagrams.

``layers-diagram``, ``state-diagram`` and ``state-table`` show what the program and its tests go by.
``sequence-diagram`` and ``chain-diagram`` show what the page says in them.
"""

from __future__ import annotations

import runpy
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from anyio_ws.sansio import state

HERE = Path(__file__).parent
LAYERS = HERE.parent.parent / "tests" / "layers.py"
PACKAGE = HERE.parent.parent / "anyio_ws"

drawings = runpy.run_path(str(HERE / "drawings.py"))


class Diagram(SphinxDirective):
    """A picture, as part of the page: so its colours are the page's."""

    def draw(self) -> str:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        for path in (HERE / "drawings.py", LAYERS, Path(state.__file__)):
            self.env.note_dependency(str(path))
        return [nodes.raw("", self.draw(), format="html")]


class LayersDiagram(Diagram):
    """Of ``tests/layers.py``, which ``tests/test_layers.py`` enforces."""

    def draw(self) -> str:
        layers = runpy.run_path(str(LAYERS))
        modules = layers["modules"](PACKAGE)
        return str(drawings["draw_layers"](layers["ROOMS"], layers["SHELVES"], modules))


class StateDiagram(Diagram):
    """Of the table in ``anyio_ws/sansio/state.py``."""

    def draw(self) -> str:
        return str(drawings["draw_states"](state.TRANSITIONS))


class SequenceDiagram(Diagram):
    """What two sides send to each other: ``client, server``, and lines: ``-> Close``, ``right: is read``."""

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True

    def draw(self) -> str:
        left, right = self.arguments[0].split(", ")
        steps = [line.split(maxsplit=1) for line in self.content if line]
        return str(
            drawings["draw_sequence"](
                (left, right), [(kind.rstrip(":"), text) for kind, text in steps]
            )
        )


class ChainDiagram(Diagram):
    """What follows what: a title, and lines as ``outbox: write_limit``."""

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True

    def draw(self) -> str:
        links = [line.partition(":") for line in self.content if line]
        return str(
            drawings["draw_chain"](
                self.arguments[0], [(name, note.strip()) for name, _, note in links]
            )
        )


class StateTable(SphinxDirective):
    """The same table, with what its triggers' docstrings say."""

    def run(self) -> list[nodes.Node]:
        docs = ModuleAnalyzer.for_module(state.__name__).find_attr_docs()
        rows = [("In", "when", "that is", "then")]
        for before, row in state.TRANSITIONS.items():
            for trigger, after in row.items():
                says = " ".join(docs["Trigger", trigger.name]).strip()
                rows.append(
                    (f"``{before.name}``", f"``{trigger.name}``", says, f"``{after.name}``")
                )
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: 18 18 46 18", ""]
        for first, *others in rows:
            lines += [f"   * - {first}", *(f"     - {cell}" for cell in others)]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("layers-diagram", LayersDiagram)
    app.add_directive("state-diagram", StateDiagram)
    app.add_directive("state-table", StateTable)
    app.add_directive("sequence-diagram", SequenceDiagram)
    app.add_directive("chain-diagram", ChainDiagram)
    return {"parallel_read_safe": True}
