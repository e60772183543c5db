"""The compiled codec, and what an index shows of README. Everything else stands in pyproject.toml.

The codec is optional: where it can't be compiled, the installation goes on without, and the pure-Python one
is used.
"""

import re
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup

codec = Extension("anyio_ws.sansio._codec", ["anyio_ws/sansio/_codec.c"], optional=True)

# Other interpreters run it slower than their own Python. Free-threaded ones would get their lock back.
worthwhile = sys.implementation.name == "cpython" and not sysconfig.get_config_var(
    "Py_GIL_DISABLED"
)

# Links to files of a checkout would lead nowhere from the page of an index: their text is left of them.
readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
shown = re.sub(r"!?\[([^\]]*)\]\((?!https?://)[^)]*\)", r"\1", readme)

setup(
    ext_modules=[codec] if worthwhile else [],
    long_description=shown,
    long_description_content_type="text/markdown",
)
