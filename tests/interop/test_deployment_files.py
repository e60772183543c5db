"""The files that a server is deployed with, as far as they can be judged without starting it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from anyio_ws import ServerConfig

from .programs import DEPLOYMENT, PATIENCE, ROOT, SERVICE, configuration, need


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    analyze = need("systemd-analyze")
    shutil.copy(SERVICE, tmp_path)
    there = {
        "/srv/feed/.venv/bin/python": sys.executable,
        "/srv/feed/service.py": str(tmp_path / "service.py"),
    }
    (tmp_path / "feed.service").write_text(configuration("feed.service", there))
    (tmp_path / "feed.socket").write_text(configuration("feed.socket", {}))
    units = [tmp_path / "feed.service", tmp_path / "feed.socket"]
    ended = subprocess.run(
        [analyze, "verify", "--man=no", *units], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "feed" not in ended.stderr  # of other units it may say something


def test_supervisors_wait_longer_than_a_shutdown_takes_at_most() -> None:
    (stagger,) = re.findall(r"shutdown\(stagger=(\d+)\)", SERVICE.read_text())
    close_timeout = ServerConfig().close_timeout
    assert close_timeout is not None
    longest = int(stagger) + 2 * close_timeout  # the closing handshakes, and then the handlers
    for name, setting in (
        ("feed.service", r"^TimeoutStopSec=(\d+)$"),
        ("compose.yaml", r"^ *stop_grace_period: (\d+)s$"),
    ):
        (seconds,) = re.findall(setting, configuration(name, {}), re.M)
        assert int(seconds) > longest, name


def test_every_file_is_shown_by_the_page() -> None:
    page = (ROOT / "docs" / "howto" / "deployment.rst").read_text()
    shown = re.findall(r"^\.\. literalinclude:: \.\./deployment/(\S+)$", page, re.M)
    assert sorted(shown) == sorted(path.name for path in DEPLOYMENT.iterdir())
