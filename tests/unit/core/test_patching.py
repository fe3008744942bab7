"""Replacing attributes of other libraries, and putting them back."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from otel_cinder.core import patching
from otel_cinder.core.patching import PatchSet, Seam, complain


class Base:
    def inherited(self) -> str:
        return "inherited"


class Library(Base):
    def method(self, value: int) -> int:
        return value

    @staticmethod
    def static(value: int) -> int:
        return value

    @classmethod
    def of_class(cls, value: int) -> int:
        return value


def function(value: int) -> int:
    return value


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A library that is imported."""
    module = types.ModuleType("a_library")
    module.function = function  # type: ignore[attr-defined]
    module.Library = type("Library", (Base,), dict(vars(Library)))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_library", module)
    return module


@pytest.fixture
def patches() -> Iterator[PatchSet]:
    """Undone at the end."""
    made = PatchSet()
    yield made
    made.undo()


def plus_one(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs) + 1


def test_function_is_wrapped_and_put_back(library: Any, patches: PatchSet) -> None:
    """A wrapped function does more; after undo() the original is back, by identity."""
    patches.wrap("s", "a_library:function", plus_one)
    assert library.function(1) == 2
    assert patches.status() == [Seam("s", "a_library:function", "on")]
    patches.undo()
    assert library.function is function
    assert patches.status() == [Seam("s", "a_library:function", "off")]


@pytest.mark.parametrize("name", ["method", "static", "of_class"])
def test_methods_of_all_kinds(library: Any, patches: PatchSet, name: str) -> None:
    """Methods, static and class methods are wrapped, and their raw entries put back."""
    raw = vars(library.Library)[name]
    patches.wrap("s", f"a_library:Library.{name}", plus_one)
    assert getattr(library.Library(), name)(1) == 2
    patches.undo()
    assert vars(library.Library)[name] is raw


def test_inherited_method_is_taken_off_again(library: Any, patches: PatchSet) -> None:
    """A method of a base class is patched on the class named, and leaves no copy there."""
    patches.replace("s", "a_library:Library.inherited", lambda _original: lambda _self: "patched")
    assert library.Library().inherited() == "patched"
    assert Base().inherited() == "inherited"
    patches.undo()
    assert "inherited" not in vars(library.Library)


def test_missing_place_is_skipped_and_said(
    library: Any, patches: PatchSet, caplog: pytest.LogCaptureFixture
) -> None:
    """A place that a version lacks is skipped with a warning; the others are patched."""
    patches.wrap("flows", "a_library:Library.no_such.method", plus_one)
    patches.wrap("flows", "a_library:function", plus_one)
    skipped, on = patches.status()
    assert skipped.state.startswith("skipped: AttributeError: ")
    assert on.state == "on"
    (said,) = caplog.messages
    assert said.startswith(
        "otel-cinder leaves a_library:Library.no_such.method unpatched because this version has "
        "no such place (AttributeError: "
    )
    assert said.endswith("; its flows spans will be missing.")


def test_factory_that_raises_is_skipped(library: Any, patches: PatchSet) -> None:
    """A replacement that cannot be made leaves the original."""

    def factory(_original: Any) -> Any:
        raise ValueError("no")

    patches.replace("s", "a_library:function", factory)
    assert library.function is function
    assert patches.status()[0].state == "skipped: ValueError: no"


def test_module_that_is_not_imported_waits(patches: PatchSet) -> None:
    """What is not imported is patched once it is; until then it is `waiting`, and not imported."""
    sys.modules.pop("this", None)
    patches.wrap("s", "colorsys:rgb_to_hsv", plus_one) if "colorsys" in sys.modules else None
    sys.modules.pop("colorsys", None)
    patches.wrap("s", "colorsys:rgb_to_yiq", plus_one)
    assert patches.status()[-1].state == "waiting"
    assert "colorsys" not in sys.modules
    import colorsys

    assert patches.status()[-1].state == "on"
    assert hasattr(colorsys.rgb_to_yiq, "__wrapped__")
    patches.undo()
    assert not hasattr(colorsys.rgb_to_yiq, "__wrapped__")


def test_undo_forgets_what_waits(patches: PatchSet) -> None:
    """After undo() a module that is imported later is left alone."""
    sys.modules.pop("colorsys", None)
    patches.wrap("s", "colorsys:rgb_to_yiq", plus_one)
    patches.undo()
    import colorsys

    assert not hasattr(colorsys.rgb_to_yiq, "__wrapped__")
    assert not any(type(finder).__name__ == "ImportHooks" for finder in sys.meta_path)


def test_somebody_elses_patch_is_not_undone(
    library: Any, patches: PatchSet, caplog: pytest.LogCaptureFixture
) -> None:
    """A place that another has patched since is left to him; what is ours there only passes on."""
    patches.wrap("s", "a_library:function", plus_one)
    ours = library.function
    library.function = lambda value: ours(value) * 10
    patches.undo()
    assert library.function(1) == 10
    assert patches.status()[0].state == "skipped: patched again by somebody else"
    assert "a_library:function" in caplog.text


def test_two_patches_of_one_place_are_undone(library: Any, patches: PatchSet) -> None:
    """Two wraps of one function are taken off newest first."""
    patches.wrap("s", "a_library:function", plus_one)
    patches.wrap("s", "a_library:function", plus_one)
    assert library.function(1) == 3
    patches.undo()
    assert library.function is function


def test_undo_twice_does_nothing_more(library: Any, patches: PatchSet) -> None:
    """undo() is idempotent."""
    patches.wrap("s", "a_library:function", plus_one)
    patches.undo()
    library.function = plus_one
    patches.undo()
    assert library.function is plus_one


def test_methods_of_a_class_at_hand(patches: PatchSet) -> None:
    """A class's methods, inherited ones too, are wrapped in one row, and put back or taken off."""

    class Mine(Library):
        def method(self, value: int) -> int:
            return value + 10

    own = vars(Mine)["method"]
    names = ("method", "inherited")
    patches.wrap_methods("s", Mine, {name: lambda w, _i, a, k: (w(*a, **k), 1) for name in names})
    assert (Mine().method(1), Mine().inherited()) == ((11, 1), ("inherited", 1))
    (row,) = patches.status()
    assert row == Seam("s", f"{__name__}:{Mine.__qualname__}.* (2)", "on")
    patches.undo()
    assert row.state == "off"
    assert vars(Mine)["method"] is own
    assert "inherited" not in vars(Mine)


def test_one_of_a_classs_methods_patched_by_another(patches: PatchSet) -> None:
    """A row of several methods is not `off` while one of them can't be put back."""
    cls: Any = type("Mine", (), {name: lambda _self: 1 for name in ("a", "b", "c")})
    patches.wrap_methods("s", cls, dict.fromkeys(("a", "b", "c"), plus_one))
    cls.b = lambda _self: 5
    patches.undo()
    assert patches.status()[0].state == "skipped: patched again by somebody else"
    assert (cls().a(), cls().b(), cls().c()) == (1, 5, 1)


@pytest.mark.complains
def test_class_that_cannot_be_changed(patches: PatchSet) -> None:
    """A class that takes no attributes is skipped, and complained of."""
    patches.wrap_methods("s", str, {"upper": plus_one})
    assert patches.status()[0].state.startswith("skipped: TypeError: ")
    assert "a".upper() == "A"


@pytest.mark.complains
def test_complaint_is_made_once(caplog: pytest.LogCaptureFixture) -> None:
    """An error of our own is logged once for each seam and class, with a traceback."""
    for _ in range(3):
        complain("flows", ValueError("broken"))
    complain("rpc", ValueError("broken"))
    assert len(caplog.records) == 2
    assert caplog.messages[0] == (
        "otel-cinder could not trace a part of flows because of ValueError: broken; Cinder is not "
        "affected. Please report it with this traceback."
    )
    assert caplog.records[0].exc_info


@pytest.mark.complains
def test_complaint_survives_a_broken_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that raises does not hurt the host."""

    def broken(*_args: Any, **_kwargs: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(patching._LOG, "warning", broken)
    complain("flows", ValueError("x"))


class Pickled:
    """Has a method that a test wraps."""

    def method(self) -> int:
        return 1


def test_what_is_wrapped_can_be_pickled_and_copied() -> None:
    """Wrapped functions and methods are pickled by their names, and copied, as they always were."""
    import copy
    import pickle

    here: Any = sys.modules[__name__]
    patches = PatchSet()
    patches.wrap_methods("seam", Pickled, {"method": lambda w, _i, a, k: w(*a, **k)})
    patches.wrap("seam", "tests.unit.core.test_patching:plain", lambda w, _i, a, k: w(*a, **k))
    assert pickle.loads(pickle.dumps(Pickled().method))() == 1
    assert copy.deepcopy({"method": Pickled().method})["method"]() == 1
    assert copy.copy(Pickled().method)() == 1
    assert pickle.loads(pickle.dumps(here.plain)) is here.plain
    assert copy.deepcopy(here.plain) is copy.copy(here.plain) is here.plain
    patches.undo()


def plain() -> None:
    """Wrapped by the test above."""
