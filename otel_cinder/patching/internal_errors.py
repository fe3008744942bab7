"""Logs otel-cinder's own errors inside Cinder, each once, and never raises them."""

from __future__ import annotations

import contextlib
import logging
from typing import Final

_LOG: Final = logging.getLogger(__name__)

_logged: set[tuple[str, type[BaseException]]] = set()


def log_internal_error(seam: str, error: BaseException) -> None:
    """Log an error of our own once per seam and class; the host goes on untraced there.

    Wrappers call it where their own code, not the host's, has raised.
    """
    key = (seam, type(error))
    if key in _logged:
        return
    _logged.add(key)
    with contextlib.suppress(Exception):  # a broken log handler must not hurt the host here
        _LOG.warning(
            "otel-cinder could not trace a part of %s because of %s: %s; Cinder is not affected. "
            "Please report it with this traceback.",
            seam,
            type(error).__name__,
            error,
            exc_info=error,
        )
