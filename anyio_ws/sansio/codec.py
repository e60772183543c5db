"""Which codec is used, decided once, at import: the compiled one where there is one, or the pure-Python one.

Both behave the same. The environment variable ``ANYIO_WS_PURE_PYTHON=1`` chooses the pure one.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["CODEC", "Payload", "apply_mask", "decode_messages", "encode_frame"]

if os.environ.get("ANYIO_WS_PURE_PYTHON", "0") not in ("", "0"):
    from ._pure_codec import Payload, apply_mask, decode_messages, encode_frame

    _codec = "pure Python (by ANYIO_WS_PURE_PYTHON)"
else:
    try:
        from ._codec import Payload, apply_mask, decode_messages, encode_frame

        _codec = "compiled"
    except ImportError:  # there was no compiler when we were installed, or it was another Python
        from ._pure_codec import Payload, apply_mask, decode_messages, encode_frame

        _codec = "pure Python (not compiled)"

CODEC: Final = _codec
"""Which one it is, for people to read."""
