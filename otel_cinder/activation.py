"""Runs at interpreter start if there is an OTEL_CINDER_* variable or a file of settings.

Only import hooks are registered here, with the standard library alone. Cinder's first act is to let
eventlet patch the standard library; what had imported ssl, urllib3 or oslo_context before would
break there. The modules waited for are imported by every Cinder service, and after that act.
"""

from __future__ import annotations

import os
import sys

from otel_cinder.import_hooks import ImportHooks

_WAIT_FOR = ("oslo_messaging", "taskflow.engines", "oslo_service.wsgi")

_REQUIREMENTS = "https://github.com/otel-cinder/otel-cinder/tree/main/requirements"

_hooks = ImportHooks()
_activated = False


def activate() -> None:
    """Instrument as soon as a library that Cinder is made of is imported. Never raises.

    If tracing is off, a misspelt variable causes a warning at that import. Other programs of the
    virtualenv log nothing, because their callers may read their stderr.
    """
    global _activated
    if _activated:
        return  # a virtualenv of Python 3.11 reads its .pth files twice
    _activated = True
    for module in _WAIT_FOR:
        _hooks.when_imported(module, _begin)


def deactivate() -> None:
    """Stop waiting: tracing was switched on or off by other means."""
    _hooks.clear()


def _begin() -> None:
    deactivate()
    try:
        from otel_cinder import settings

        _read_file()
        if not settings.enabled(os.environ):
            settings.warn_of_unknown(os.environ)
        elif settings.instrumentation_disabled(os.environ):
            _log_disabled(os.environ[settings.DISABLED_INSTRUMENTATIONS])
        else:
            import otel_cinder

            otel_cinder.instrument()
    except Exception as error:
        _say(error)


def _read_file() -> None:
    from otel_cinder import settings, settings_file

    # The file is there for all programs of the virtualenv or host: other services have a broker, too.
    if settings.ENABLED in os.environ or "cinder" in sys.modules:
        path = settings_file.find()
        if path is not None:
            settings_file.read_into(os.environ, path)


def _log_disabled(value: str) -> None:
    import logging

    from otel_cinder import notices

    notices.say(
        logging.INFO,
        "otel-cinder stays off because OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=%s.",
        value[:80],
    )


def _say(error: Exception) -> None:
    advice = _advice(error)
    message = (
        f"otel-cinder stays off because it could not start ({type(error).__name__}: {error}); "
        f"Cinder is not affected. {advice}"
    )
    try:
        from otel_cinder import notices

        notices.warn("%s", message)
    except Exception:
        print(message, file=sys.stderr)


def _advice(error: Exception) -> str:
    if not isinstance(error, ImportError):
        return "Correct the OTEL_* variable that this names; if it names none, please report it."
    return advice_on_import(error)


def advice_on_import(error: ImportError) -> str:
    """The likely remedy if this import fails."""
    package = (error.name or "otel_cinder").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) or package == "otel_cinder":
        return "Is it installed in the same virtualenv, with its dependencies?"
    return (
        f"The installed {package} does not fit: for this OpenStack release, install what "
        f"{_REQUIREMENTS} lists."
    )
