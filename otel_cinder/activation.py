"""What ``otel_cinder.pth`` runs at interpreter start, where OTEL_CINDER_ENABLED is set.

Only import hooks are registered here, with the standard library alone. Cinder's first act is to let
eventlet patch the standard library; what had imported ssl, urllib3 or oslo_context before would
break there. The modules waited for are imported by every Cinder service, and after that act.
"""

from __future__ import annotations

import os
import sys

from otel_cinder.core.imports import ImportHooks

_WAIT_FOR = ("oslo_messaging", "taskflow.engines", "oslo_service.wsgi")

_hooks = ImportHooks()
_activated = False


def activate() -> None:
    """Instrument as soon as a library that Cinder is made of is imported. Never raises."""
    global _activated
    if _activated:
        return  # a virtualenv of Python 3.11 reads its .pth files twice
    _activated = True
    try:
        from otel_cinder.core.settings import enabled

        disabled = os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "")
        names = {name.strip() for name in disabled.split(",")}
        if enabled(os.environ) and names.isdisjoint({"otel_cinder", "*"}):
            for module in _WAIT_FOR:
                _hooks.when_imported(module, _instrument)
    except Exception as error:
        _say(error)


def deactivate() -> None:
    """Wait no longer: another door has switched tracing on, or off for good."""
    _hooks.clear()


def _instrument() -> None:
    deactivate()
    try:
        import otel_cinder

        otel_cinder.instrument()
    except Exception as error:
        _say(error)


def _say(error: Exception) -> None:
    if isinstance(error, ImportError):
        advice = "Is it installed in the same virtualenv, with its dependencies?"
    else:
        advice = "Correct the OTEL_* variable that this names; if it names none, please report it."
    # The log may not be set up yet: stderr is where systemd and uWSGI look.
    print(
        f"otel-cinder stays off because it could not start ({type(error).__name__}: {error}); "
        f"Cinder is not affected. {advice}",
        file=sys.stderr,
    )
