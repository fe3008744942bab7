"""Whose code a package is: Cinder's, or that of a library which Cinder uses."""

from __future__ import annotations

import functools
import sys
from types import FunctionType, ModuleType
from typing import Any, Final

_OWN: Final = frozenset({"__main__", "cinder", "os_brick"})

_INSTALLED: Final = ("/dist-packages/", "/site-packages/")


@functools.lru_cache(maxsize=256)
def is_cinders(package: str) -> bool:
    """Return whether ``package``, a top-level name, is Cinder's own code or plugs into Cinder.

    A library is installed, and knows nothing of Cinder: a client of an array, or SSH. A driver from
    elsewhere uses Cinder's modules. Looked up once for each package.
    """
    if package in _OWN:
        return True
    module = sys.modules.get(package)
    return module is not None and (not _is_installed(module) or _uses_cinder(package))


def _is_installed(module: Any) -> bool:
    places = [getattr(module, "__file__", None), *(getattr(module, "__path__", None) or ())]
    return any(part in str(place) for place in places for part in _INSTALLED)


def _uses_cinder(package: str) -> bool:
    """Return whether one of the package's modules has a module, class or function of Cinder's."""
    return any(
        _is_of_cinder(value)
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == package and issubclass(type(module), ModuleType)
        for value in list(vars(module).values())
    )


def _is_of_cinder(value: Any) -> bool:
    # By the real class: what imports itself when it is looked at would do so now.
    kind = type(value)
    if issubclass(kind, ModuleType):
        name = vars(value).get("__name__")
    elif kind is FunctionType:
        name = value.__module__
    elif issubclass(kind, type):
        name = vars(value).get("__module__")
    else:
        return False
    return isinstance(name, str) and name.partition(".")[0] == "cinder"
