"""The compiled codec. Everything else stands in pyproject.toml.

It is optional: where it can't be compiled, the installation goes on without, and the pure-Python codec is
used.
"""

import sys
import sysconfig

from setuptools import Extension, setup

codec = Extension("anyio_ws.sansio._codec", ["anyio_ws/sansio/_codec.c"], optional=True)

# Other interpreters run it slower than their own Python. Free-threaded ones would get their lock back.
worthwhile = sys.implementation.name == "cpython" and not sysconfig.get_config_var(
    "Py_GIL_DISABLED"
)

setup(ext_modules=[codec] if worthwhile else [])
