"""Callbacks once a module has been imported."""

from __future__ import annotations

import importlib
import importlib.resources
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from otel_cinder.import_hooks import ImportHooks, imported
from tests.unit import scripts


@pytest.fixture
def hooks() -> Iterator[ImportHooks]:
    """Cleared at the end."""
    hooks = ImportHooks()
    yield hooks
    hooks.clear()


@pytest.fixture
def package(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """A package ``waited_for`` that is not imported yet."""
    folder = tmp_path / "waited_for"
    folder.mkdir()
    (folder / "__init__.py").write_text("VALUE = 1\n")
    (folder / "data.txt").write_text("data")
    (folder / "inner.py").write_text("VALUE = 2\n")
    (folder / "broken.py").write_text("raise ValueError('mine')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("waited_for")]:
        del sys.modules[name]


def test_imported_module_is_called_back_at_once(hooks: ImportHooks) -> None:
    """For an imported module the callback runs at once, and no hook is registered."""
    called: list[int] = []
    hooks.when_imported("json", lambda: called.append(1))
    assert called == [1]
    assert hooks not in sys.meta_path


def test_callback_runs_once_after_the_body(hooks: ImportHooks, package: pathlib.Path) -> None:
    """The callback finds the module whole, and is not called at the next import."""
    seen: list[int] = []
    hooks.when_imported("waited_for", lambda: seen.append(sys.modules["waited_for"].VALUE))
    hooks.when_imported("waited_for", lambda: seen.append(10))
    assert seen == []
    import waited_for  # type: ignore[import-not-found]

    assert seen == [1, 10]
    importlib.reload(waited_for)
    assert seen == [1, 10]


def test_submodule_is_waited_for(hooks: ImportHooks, package: pathlib.Path) -> None:
    """A module inside of a package is waited for by its full name."""
    seen: list[bool] = []
    hooks.when_imported("waited_for.inner", lambda: seen.append(imported("waited_for.inner")))
    import waited_for

    assert seen == []
    importlib.import_module("waited_for.inner")
    assert seen == [True]
    assert waited_for.inner.VALUE == 2


def test_loader_of_the_module_is_the_real_one(hooks: ImportHooks, package: pathlib.Path) -> None:
    """The module's loader and spec are Python's own, for resources and others that look at them."""
    hooks.when_imported("waited_for", lambda: None)
    import waited_for

    assert type(waited_for.__loader__).__name__ == "SourceFileLoader"
    assert waited_for.__spec__.loader is waited_for.__loader__
    assert (importlib.resources.files("waited_for") / "data.txt").read_text() == "data"


def test_callback_that_raises_does_not_break_the_import(
    hooks: ImportHooks, package: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The host's import goes on, the error is logged, and the other callbacks run."""
    called: list[int] = []

    def fails() -> None:
        raise RuntimeError("mine")

    hooks.when_imported("waited_for", fails)
    hooks.when_imported("waited_for", lambda: called.append(1))
    import waited_for

    assert waited_for.VALUE == 1
    assert called == [1]
    assert "could not prepare waited_for" in caplog.text


def test_failing_module_still_fails(hooks: ImportHooks, package: pathlib.Path) -> None:
    """A module whose body raises is not called back, and its exception is its own."""
    called: list[int] = []
    hooks.when_imported("waited_for.broken", lambda: called.append(1))
    with pytest.raises(ValueError, match="mine"):
        importlib.import_module("waited_for.broken")
    assert called == []
    assert not imported("waited_for.broken")


def test_missing_module_is_missing(hooks: ImportHooks) -> None:
    """A module that does not exist still raises ModuleNotFoundError."""
    hooks.when_imported("no_such_module_at_all", lambda: None)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_module_at_all")


def test_clear_leaves_the_import_system(hooks: ImportHooks, package: pathlib.Path) -> None:
    """After clear() nothing is called back and no finder is left."""
    called: list[int] = []
    hooks.when_imported("waited_for", lambda: called.append(1))
    assert hooks in sys.meta_path
    hooks.clear()
    assert hooks not in sys.meta_path
    importlib.import_module("waited_for")
    assert called == []
    hooks.clear()


def test_two_hooks_wait_for_one_module(hooks: ImportHooks, package: pathlib.Path) -> None:
    """Two sets of hooks that watch one module are both called."""
    other = ImportHooks()
    called: list[int] = []
    hooks.when_imported("waited_for", lambda: called.append(1))
    other.when_imported("waited_for", lambda: called.append(2))
    try:
        importlib.import_module("waited_for")
    finally:
        other.clear()
    assert sorted(called) == [1, 2]


def test_module_in_the_middle_of_its_import_is_not_imported(
    hooks: ImportHooks, package: pathlib.Path
) -> None:
    """A module that asks while it is being imported is called back at its end."""
    (package / "asks.py").write_text(
        "import waited_for\nwaited_for.hooks.when_imported('waited_for.asks', waited_for.done)\n"
        "waited_for.during = list(waited_for.seen)\n"
    )
    import waited_for

    waited_for.hooks, waited_for.seen = hooks, []
    waited_for.done = lambda: waited_for.seen.append(1)
    importlib.import_module("waited_for.asks")
    assert waited_for.during == []


def test_hooks_cost_the_standard_library_only() -> None:
    """Importing the hooks imports neither wrapt nor ssl nor anything else that eventlet patches."""
    ran = scripts.run(
        """
        import sys
        before = set(sys.modules)
        import otel_cinder.import_hooks
        import json
        new = set(sys.modules) - before
        print(json.dumps(sorted(new & {"ssl", "wrapt", "socket", "threading", "asyncio",
                                       "opentelemetry", "requests", "urllib3"})))
        """
    )
    assert ran.said == []


def test_module_under_way_is_called_back_when_it_is_done(
    hooks: ImportHooks, package: pathlib.Path
) -> None:
    """A module that is half imported when a callback is registered is seen at the next import."""
    (package / "half.py").write_text("import waited_for.inner\nVALUE = 3\n")
    seen: list[int] = []

    def ask() -> None:
        hooks.when_imported("waited_for.half", lambda: seen.append(half().VALUE))

    def half() -> Any:
        return sys.modules["waited_for.half"]

    hooks.when_imported("waited_for.inner", ask)
    importlib.import_module("waited_for.half")
    assert seen == []
    (package / "last.py").write_text("")
    importlib.import_module("waited_for.last")
    assert seen == [3]
