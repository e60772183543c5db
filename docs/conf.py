"""Sphinx configuration: furo and autodoc, nothing that needs the network."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "_ext"))

project = "anyio_ws"
author = "The anyio_ws authors"
copyright = "2026, The anyio_ws authors"
version = release = installed_version("anyio-ws")

extensions = ["sphinx.ext.autodoc", "diagrams", "names"]
exclude_patterns = [
    "_build",
    "conformance-table.rst",  # the tables are included, and no pages
    "promises/table.rst",
    "performance/goals.rst",
]
default_role = "py:obj"  # docstrings name things in single backticks
rst_prolog = ".. currentmodule:: anyio_ws"

# What is named must be documented here, unless it is somebody else's, or only a name for types.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(anyio|asyncio|collections|contextlib|trio)\..*"),
    ("py:.*", r"(abc|enum|http|ipaddress|logging|os|re|socket|ssl|time|types|urllib|uuid)\..*"),
    # Of AnyIO, in docstrings that are inherited.
    ("py:exc", r"(EndOfStream|TypedAttributeLookupError|(Broken|Busy|Closed)ResourceError)"),
    ("py:.*", r"anyio_ws\.[\w.]+\._\w+"),
    ("py:class", r".*\b(\w+Like|CommonConfig|T)"),
]

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_title = f"anyio_ws {version}"
