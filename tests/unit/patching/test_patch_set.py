"""Replacing attributes of other libraries, and putting them back."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import wrapt

from otel_cinder.patching import internal_errors
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet, Seam
from tests.unit import scripts


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
    patches = PatchSet()
    yield patches
    patches.undo()


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


def test_missing_place_is_skipped_and_reported(
    library: Any, patches: PatchSet, caplog: pytest.LogCaptureFixture
) -> None:
    """A place that a version lacks is skipped with a warning; the others are patched."""
    patches.wrap("flows", "a_library:Library.no_such.method", plus_one)
    patches.wrap("flows", "a_library:function", plus_one)
    skipped, on = patches.status()
    assert skipped.state.startswith("skipped: AttributeError: ")
    assert on.state == "on"
    (message,) = caplog.messages
    assert message.startswith(
        "otel-cinder leaves a_library:Library.no_such.method unpatched because this version has "
        "no such place (AttributeError: "
    )
    assert message.endswith("; its flows spans will be missing.")


def test_factory_that_raises_is_skipped(library: Any, patches: PatchSet) -> None:
    """A replacement that cannot be made leaves the original."""

    def factory(_original: Any) -> Any:
        raise ValueError("no")

    patches.replace("s", "a_library:function", factory)
    assert library.function is function
    assert patches.status()[0].state == "skipped: ValueError: no"


def test_module_that_is_not_imported_waits(patches: PatchSet) -> None:
    """A module is patched once it is imported; until then it is `waiting`, and not imported."""
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


def test_undo_forgets_waiting_places(patches: PatchSet) -> None:
    """After undo() a module that is imported later is left alone."""
    sys.modules.pop("colorsys", None)
    patches.wrap("s", "colorsys:rgb_to_yiq", plus_one)
    patches.undo()
    import colorsys

    assert not hasattr(colorsys.rgb_to_yiq, "__wrapped__")
    assert not any(type(finder).__name__ == "ImportHooks" for finder in sys.meta_path)


def test_another_librarys_patch_is_not_undone(
    library: Any, patches: PatchSet, caplog: pytest.LogCaptureFixture
) -> None:
    """A place that another program patched later is left alone; our wrapper there only passes calls on."""
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
def test_internal_error_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """An error of our own is logged once for each seam and class, with a traceback."""
    for _ in range(3):
        log_internal_error("flows", ValueError("broken"))
    log_internal_error("rpc", ValueError("broken"))
    assert len(caplog.records) == 2
    assert caplog.messages[0] == (
        "otel-cinder could not trace a part of flows because of ValueError: broken; Cinder is not "
        "affected. Please report it with this traceback."
    )
    assert caplog.records[0].exc_info


@pytest.mark.complains
def test_internal_error_survives_a_broken_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that raises does not hurt the host."""

    def broken(*_args: Any, **_kwargs: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(internal_errors._LOG, "warning", broken)
    log_internal_error("flows", ValueError("x"))


# A patched function is a function


class Host:
    """Has methods of all kinds, one with arguments that have odd names."""

    def __init__(self, name: str = "host") -> None:
        self.name = name

    def method(self, value: int = 0, /, *more: int, wrapped: int = 1, **others: Any) -> Any:
        """Say what came."""
        return (self.name, value, more, wrapped, others)

    @staticmethod
    def static(value: int) -> int:
        return value

    @classmethod
    def of_class(cls, value: int) -> Any:
        return (cls.__name__, value)

    def named(instance: Any, self: int, args: int, kwargs: int) -> Any:
        return (instance.name, self, args, kwargs)


def host(self: int, wrapped: int = 2, *, instance: int = 3) -> Any:
    """Say what came."""
    return (self, wrapped, instance)


class Called:
    """An object that can be called."""

    def __call__(self, value: int) -> int:
        return value


called = Called()
built_in = len
decorated = wrapt.decorator(lambda wrapped, _instance, args, kwargs: wrapped(*args, **kwargs))(host)


def passed_on(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)


METHODS = ("method", "static", "of_class", "named", "__init__")


@pytest.fixture
def wrapped(patches: PatchSet) -> Any:
    """This module, with everything wrapped."""
    for name in METHODS:
        patches.wrap("s", f"{__name__}:Host.{name}", passed_on)
    for name in ("host", "Called", "called", "built_in", "decorated"):
        patches.wrap("s", f"{__name__}:{name}", passed_on)
    assert {row.state for row in patches.status()} == {"on"}
    return sys.modules[__name__]


def test_function_is_replaced_by_a_function(wrapped: Any) -> None:
    """Functions and methods keep their kinds and their metadata."""
    assert type(wrapped.host) is types.FunctionType
    kinds = [type(vars(Host)[name]) for name in METHODS]
    function = types.FunctionType
    assert kinds == [function, staticmethod, classmethod, function, function]
    for found in (wrapped.host, Host.method, Host.static, Host.of_class.__func__):
        original = found.__wrapped__
        assert found.__code__ is not original.__code__
        assert inspect.unwrap(found) is inspect.unwrap(original)
        for say in (inspect.signature, inspect.getfullargspec, inspect.getsource, inspect.getdoc):
            assert say(found) == say(original)
        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            assert getattr(found, name) == getattr(original, name)


def test_same_function_is_found_each_time(wrapped: Any) -> None:
    """Taken from its class twice, or from a class that inherits it, it is one object."""

    class Sub(Host):
        pass

    assert Host.method is Host.method is Sub.method
    assert Host().method.__func__ is Sub.method  # type: ignore[attr-defined]
    assert {Host.method: 1}[Sub.method] == 1


def test_functions_are_copied_and_pickled(wrapped: Any) -> None:
    """Functions are atoms to copy and go by their names to pickle; bound methods go with the object."""
    for function in (wrapped.host, Host.method, Host.static, Host.named):
        assert copy.copy(function) is copy.deepcopy([function])[0] is function
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(function, protocol)) is function
    bound = Host("mine").method
    for copied in (copy.deepcopy(bound), pickle.loads(pickle.dumps(bound))):
        assert copied(4) == ("mine", 4, (), 1, {})
        assert copied.__self__ is not bound.__self__
    assert pickle.loads(pickle.dumps(Host.of_class)) == Host.of_class


def test_methods_are_referenced_weakly(wrapped: Any) -> None:
    """A WeakMethod leads to the method as long as the object lives."""
    mine = Host("mine")
    reference = weakref.WeakMethod(mine.method)
    target = reference()
    assert target is not None
    assert target(4) == ("mine", 4, (), 1, {})
    del mine, target
    assert reference() is None
    assert weakref.ref(wrapped.host)() is wrapped.host


def test_arguments_by_name(wrapped: Any) -> None:
    """Every argument can be passed by its own name, even a name that a wrapper uses."""
    assert wrapped.host(self=1, wrapped=5, instance=6) == (1, 5, 6)
    mine = Host("mine")
    assert mine.method(2, 3, wrapped=4, self=5, instance=6, args=7) == (
        "mine",
        2,
        (3,),
        4,
        {"self": 5, "instance": 6, "args": 7},
    )
    assert mine.named(self=1, args=2, kwargs=3) == ("mine", 1, 2, 3)
    assert Host.named(instance=mine, self=1, args=2, kwargs=3) == ("mine", 1, 2, 3)
    assert Host.named(mine, 1, 2, kwargs=3) == ("mine", 1, 2, 3)
    assert wrapped.Host.__init__(self=mine, name="renamed") is None
    assert mine.name == "renamed"


@pytest.mark.parametrize(
    "call",
    [
        lambda: host(instance=1),
        lambda: host(1, 2, 3),
        lambda: Host.method(value=1),
        lambda: Host.named(self=1, args=2, kwargs=3),
        lambda: Host().named(1, 2, 3, 4),
        lambda: Host.static(),  # noqa: PLW0108 the one that is there then
        lambda: Host.of_class(1, 2),
    ],
)
def test_wrong_arguments_are_still_refused(
    patches: PatchSet, call: Callable[[], Any], request: pytest.FixtureRequest
) -> None:
    """A call that does not fit fails by the same words."""
    with pytest.raises(TypeError) as before:
        call()
    request.getfixturevalue("wrapped")
    with pytest.raises(TypeError) as after:
        call()
    assert str(after.value) == str(before.value)


def test_function_of_an_instance_is_wrapped(patches: PatchSet) -> None:
    """A function that an object has itself is not bound, and put back."""
    mine: Any = Host("mine")
    own = mine.own = lambda value: value
    patches.wrap_methods("s", mine, {"own": plus_one})
    assert type(mine.own) is types.FunctionType
    assert mine.own(1) == 2
    assert patches.status() == [Seam("s", f"{__name__}:Host().* (1)", "on")]
    patches.undo()
    assert mine.own is own


def test_more_methods_of_a_class_are_added_to_its_row(patches: PatchSet) -> None:
    """Methods of one class that are wrapped one after the other have one row."""
    cls: Any = type("Mine", (), {name: lambda _self: 1 for name in ("a", "b", "c")})
    patches.wrap_methods("s", cls, {"a": plus_one})
    patches.wrap_methods("s", cls, {"b": plus_one, "c": plus_one})
    assert patches.status() == [Seam("s", f"{__name__}:Mine.* (3)", "on")]
    assert (cls().a(), cls().b(), cls().c()) == (2, 2, 2)


def test_inherited_method_is_wrapped_where_it_is_defined(patches: PatchSet) -> None:
    """A named class's inherited method is wrapped in its base, for that class's objects alone."""

    class Parent:
        def method(self) -> int:
            return 1

        @classmethod
        def of_class(cls) -> int:
            return 1

    class Child(Parent):
        pass

    class Mixin(Parent):
        def method(self) -> int:
            return 10 + super().method()

    class Both(Child, Mixin):
        pass

    before = dict(vars(Child))
    patches.wrap_methods("s", Child, {"method": plus_one, "of_class": plus_one})
    assert dict(vars(Child)) == before
    assert (Parent().method(), Child().method(), Both().method()) == (1, 2, 12)
    assert (Parent.of_class(), Child.of_class()) == (1, 2)
    patches.undo()
    assert (Child().method(), Both().method(), Child.of_class()) == (1, 11, 1)


def test_other_objects_keep_their_types(wrapped: Any) -> None:
    """C code, classes, callable objects and others' wrappers keep their types."""

    class Sub(wrapped.Called):  # type: ignore[misc]
        pass

    assert Sub.__mro__[1] is wrapped.Called.__wrapped__
    assert isinstance(wrapped.built_in, types.BuiltinFunctionType)
    assert inspect.isbuiltin(wrapped.built_in)
    assert inspect.isclass(wrapped.Called)
    assert isinstance(wrapped.Called(), wrapped.Called)
    assert isinstance(wrapped.called, Called)
    assert isinstance(wrapped.decorated, types.FunctionType)
    assert wrapped.built_in([1]) == wrapped.Called()(1) == wrapped.called(1) == 1
    assert wrapped.decorated(self=1) == (1, 2, 3)


@pytest.mark.parametrize("name", ["built_in", "Called", "called", "decorated"])
def test_other_objects_are_copied_and_pickled(wrapped: Any, name: str) -> None:
    """It is found in its place by pickle, and copied as itself."""
    attribute = getattr(wrapped, name)
    assert pickle.loads(pickle.dumps(attribute)) is attribute
    assert copy.copy(attribute) is copy.deepcopy([attribute])[0] is attribute
    assert weakref.ref(attribute)() is attribute


def test_c_function_in_a_class_is_not_bound(wrapped: Any) -> None:
    """C functions and classes do not turn into methods in a class, and so must theirs not."""
    holder = type("Holder", (), {"count": wrapped.built_in, "make": wrapped.Called})()
    assert holder.count([1, 2]) == 2
    assert holder.make()(3) == 3


def test_other_objects_pass_through_once_undone(patches: PatchSet, wrapped: Any) -> None:
    """A replacement that is kept after `undo` only calls the original."""
    seen: list[Any] = []
    patches.wrap("s", f"{__name__}:built_in", lambda w, _i, a, k: seen.append(w(*a, **k)))
    kept = wrapped.built_in
    kept([1])
    patches.undo()
    assert (kept([1, 2]), seen) == (2, [1])
    assert wrapped.built_in is len


def test_function_that_is_found_elsewhere_is_pickled_by_its_place(
    patches: PatchSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function that a module has from another is replaced in the first one alone."""
    module: Any = types.ModuleType("a_facade")
    module.host = host
    monkeypatch.setitem(sys.modules, "a_facade", module)
    patches.wrap("s", "a_facade:host", passed_on)
    assert pickle.loads(pickle.dumps(module.host)) is module.host is not host
    assert pickle.loads(pickle.dumps(host)) is host


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_os_exit_as_the_target_of_a_process(method: str) -> None:
    """A process whose target is os._exit starts, and ends with its status."""
    ran = scripts.run(
        scripts.RECORDED,
        f"""
        import multiprocessing, os, pickle
        assert pickle.loads(pickle.dumps(os._exit)) is os._exit
        process = multiprocessing.get_context({method!r}).Process(target=os._exit, args=(7,))
        process.start()
        process.join(60)
        print(process.exitcode)
        """,
        timeout=120,
    )
    assert ran.said == 7
