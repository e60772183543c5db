"""The extension seam (RFC 6455, section 9): pure factories that negotiate, extensions that hold state."""

from __future__ import annotations

from .base import ClientExtensionFactory, Extension, ServerExtensionFactory

__all__ = ["ClientExtensionFactory", "Extension", "ServerExtensionFactory"]
