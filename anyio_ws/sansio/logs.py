"""How a record about a connection is logged: with what tells connections apart as attributes of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any, cast

__all__ = ["LoggerLike", "log"]

LoggerLike = logging.Logger | logging.LoggerAdapter[logging.Logger]


def log(
    logger: LoggerLike,
    level: int,
    extra: Mapping[str, object],
    message: str,
    *args: object,
    exc_info: BaseException | None = None,
) -> None:
    """Log a record that has the names in *extra* as attributes.

    So it does through an adapter, which by itself would put its own ``extra`` in place of ours; where both
    have a name, the adapter's counts. It seems to come from who called our caller.
    """
    keywords: MutableMapping[str, Any] = {"extra": extra, "exc_info": exc_info, "stacklevel": 3}
    while isinstance(logger, logging.LoggerAdapter):
        message, keywords = logger.process(message, keywords)
        added: Mapping[str, object] = keywords.get("extra") or {}
        extra = keywords["extra"] = {**extra, **added}
        logger = cast("LoggerLike", logger.logger)
    logger.log(level, message, *args, **keywords)
