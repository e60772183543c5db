"""Follow the tutorial: ``python -m tests.tutorial``; what doesn't come out as shown is an error."""

from __future__ import annotations

import tempfile
from pathlib import Path

from .pages import steps
from .reader import follow

with tempfile.TemporaryDirectory() as directory:
    follow(steps(), Path(directory))
