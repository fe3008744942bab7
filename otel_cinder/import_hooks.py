"""Calls back once a module has been imported, with the standard library alone.

wrapt has such hooks too, but since 2.0 importing wrapt imports asyncio and with it ssl. This code
runs at interpreter start, before Cinder lets eventlet patch ssl, so it can't use them.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType
from typing import Any

Callback = Callable[[], None]

_complete: set[str] = set()
"""Watched modules whose body has run to its end."""


class ImportHooks(MetaPathFinder):
    """Callbacks by module name. Each is called once, after the module's body has run.

    A callback must not raise, because that would break the host's import (it is still guarded).
    """

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callback]] = {}
        self._looking: set[str] = set()
        self._under_way: set[str] = set()
        """Modules that are being imported already, whose loaders can't be watched any more."""

    def when_imported(self, name: str, callback: Callback) -> None:
        """Call ``callback`` now if ``name`` is imported, otherwise once it will be."""
        if imported(name):
            callback()
            return
        if name in sys.modules:
            self._under_way.add(name)
        self._callbacks.setdefault(name, []).append(callback)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def clear(self) -> None:
        """Forget all callbacks and leave ``sys.meta_path``."""
        self._callbacks.clear()
        self._under_way.clear()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a watched module by the other finders, and watch its loader.

        Python calls this once for each module that is not loaded yet. Waiting for ever is cheap: 1 µs
        beside the 100 µs and more that finding a module takes.
        """
        if self._under_way:
            self._look_again()
        if fullname not in self._callbacks or fullname in self._looking:
            return None  # the latter: another set of hooks asks everybody, us too
        self._looking.add(fullname)
        try:
            for finder in sys.meta_path:
                if finder is self or not hasattr(finder, "find_spec"):
                    continue
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    self._watch(spec)
                    return spec
            return None
        finally:
            self._looking.discard(fullname)

    def _look_again(self) -> None:
        """Report the modules that are complete by now: the next import is the first chance to see it."""
        for name in tuple(self._under_way):  # which another thread may change
            if imported(name):
                self._under_way.discard(name)
                self.loaded(name)

    def _watch(self, spec: importlib.machinery.ModuleSpec) -> None:
        with contextlib.suppress(Exception):  # a spec or a loader like no other: it stays untraced
            if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                spec.loader = _WatchedLoader(spec.loader, self)

    def loaded(self, name: str) -> None:
        """Call the callbacks of ``name``, which has just been imported."""
        for callback in self._callbacks.pop(name, ()):
            try:
                callback()
            except Exception:  # never into the host's import
                import logging

                with contextlib.suppress(Exception):  # a log that is broken
                    logging.getLogger(__name__).exception(
                        "otel-cinder could not prepare %s, so it stays untraced.", name
                    )


class _WatchedLoader(Loader):
    """Runs the real loader, then the callbacks; steps out of the way for everything else."""

    def __init__(self, loader: Any, hooks: ImportHooks) -> None:
        self._loader = loader
        self._hooks = hooks

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        # Resources, pickles and reloads look at the module's loader: let them find the real one.
        with contextlib.suppress(Exception):  # a module of its loader's own making
            module.__loader__ = self._loader
            if module.__spec__ is not None:
                module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        # To other threads the module is being imported until the callbacks are done: they wait,
        # and don't see it unpatched. To the callbacks it is imported.
        _complete.add(module.__name__)
        self._hooks.loaded(module.__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def imported(name: str) -> bool:
    """True if ``name`` is imported and its body has run to the end."""
    module = sys.modules.get(name)
    if module is None:
        return False
    if name in _complete:
        return True
    try:
        return not getattr(getattr(module, "__spec__", None), "_initializing", False)
    except Exception:  # sys.modules may hold anything
        return True
