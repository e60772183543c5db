"""References by short names: one that a page's own module hasn't is looked for in the other public ones."""

from __future__ import annotations

from docutils.nodes import Element, reference
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.typing import ExtensionMetadata

MODULES = ("anyio_ws", "anyio_ws.events", "anyio_ws.sansio", "anyio_ws.testing")


def find(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element
) -> reference | None:
    if node.get("refdomain") != "py":
        return None
    python = env.domains.python_domain
    kind, name = node["reftype"], node["reftarget"]
    for module in MODULES:
        node["py:module"] = module
        found = python.resolve_xref(env, node["refdoc"], app.builder, kind, name, node, content)
        if isinstance(found, reference):
            return found
    return None


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("missing-reference", find)
    return {"parallel_read_safe": True}
