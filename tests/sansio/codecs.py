"""The codecs that can run here, and how a test runs on one of them."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from types import ModuleType
from unittest import mock

from anyio_ws.sansio import _pure_codec, frames, protocol

NAMES = _pure_codec.__all__


def _compiled() -> ModuleType | None:
    try:
        return importlib.import_module("anyio_ws.sansio._codec")
    except ImportError:
        return None


CODECS: dict[str, ModuleType] = {"pure": _pure_codec}
if (_module := _compiled()) is not None:
    CODECS["compiled"] = _module


@contextlib.contextmanager
def running_on(codec: ModuleType, *, short_cut: bool = True) -> Iterator[None]:
    """Let *codec* be the one that is used.

    :param short_cut: whether whole messages may pass the frame decoder by; without, it judges every frame
    """
    functions = {name: getattr(codec, name) for name in NAMES}
    if not short_cut:
        functions["decode_messages"] = lambda data, position, *_: ([], position, 0)
    with (
        mock.patch.multiple(frames, **functions),
        mock.patch.object(protocol, "encode_frame", functions["encode_frame"]),
    ):
        yield
