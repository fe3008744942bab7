"""One OpenTelemetry trace of an OpenStack Cinder request, from the API to the driver.

Switch it on in one of three ways, all of which lead to the same, idempotent `instrument()`:

* ``OTEL_CINDER_ENABLED=true`` in the environment of each Cinder service. A ``.pth`` file that the
  wheel installs sees it at interpreter start. This is the way for eventlet, cotyledon and uWSGI.
* ``opentelemetry-instrument``, which finds the entry point ``otel_cinder``.
* In code, after the process has chosen its concurrency backend::

      import otel_cinder

      otel_cinder.instrument()

This module imports nothing of OpenTelemetry or OpenStack, so that it may be imported at any time.
"""

from __future__ import annotations

from typing import Any

from otel_cinder.version import __version__

__all__ = ["__version__", "instrument", "uninstrument"]


def instrument(**kwargs: Any) -> None:
    """Patch libraries now or when they are imported, so that they make spans. Does nothing when on.

    Keyword arguments, all optional: ``tracer_provider``, ``meter_provider`` (use this one rather
    than building one from the ``OTEL_*`` environment; with the former alone nothing is measured),
    ``settings`` (an `otel_cinder.settings.Settings`).
    Never raises for a library that does not fit: the seam is left out and said so in the log.
    """
    from otel_cinder.instrumentor import CinderInstrumentor

    CinderInstrumentor().instrument(**kwargs)


def uninstrument() -> None:
    """Put every patched object back, export all recorded data and stop. Does nothing when off."""
    from otel_cinder.instrumentor import CinderInstrumentor

    CinderInstrumentor().uninstrument()
