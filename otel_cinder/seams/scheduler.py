"""The scheduler's decisions: each filter's verdict, and the chosen backend.

They are events of the span that schedules, which is a task's or a message's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import wrapt
from opentelemetry import trace
from opentelemetry.trace import Span

from otel_cinder import conventions, redaction
from otel_cinder.cinder.scheduling import backend_name, choice
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.spans import clock, local_root

SEAM: Final = "scheduler"

_Proxy: Any = wrapt.ObjectProxy  # generic to mypy, but not at run time

_REJECTED_LIMIT: Final = 16
"""Backends that are named of those that a filter has rejected."""


def patch(patches: PatchSet) -> None:
    """Patch filtering and choosing."""
    handler = "cinder.scheduler.base_filter:BaseFilterHandler"
    patches.wrap(SEAM, f"{handler}.get_filtered_objects", _filter)
    for method in ("_choose_top_backend", "_choose_top_backend_generic_group"):
        scheduler = "cinder.scheduler.filter_scheduler:FilterScheduler"
        patches.wrap(SEAM, f"{scheduler}.{method}", _choose)


def _filter(
    wrapped: Callable[..., Any],
    _handler: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Filter backends, and record each filter's verdict."""
    verdicts = None
    try:
        span = trace.get_current_span()
        if span.is_recording():
            args, kwargs, verdicts = _watch(span, args, kwargs)
    except Exception as error:
        log_internal_error(SEAM, error)
    passed = wrapped(*args, **kwargs)
    if verdicts is not None:
        verdicts.end(passed)
    return passed


def _watch(
    span: Span, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], _Verdicts | None]:
    filters = args[0] if args else kwargs.get("filter_classes")
    if not isinstance(filters, list):  # by no release of Cinder's
        return args, kwargs, None
    verdicts = _Verdicts(span)
    watched = [_WatchedClass(cls, verdicts) for cls in filters]
    if args:
        return (watched, *args[1:]), kwargs, verdicts
    return args, {**kwargs, "filter_classes": watched}, verdicts


def _choose(
    wrapped: Callable[..., Any],
    _scheduler: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Choose the best of the weighed backends."""
    chosen = wrapped(*args, **kwargs)
    try:
        span = trace.get_current_span()
        if span.is_recording():
            attributes = choice(chosen)
            clock.add_event(span, conventions.CHOICE_EVENT, attributes)
            local_root.enrich({conventions.HOST: attributes[conventions.HOST]})
    except Exception as error:
        log_internal_error(SEAM, error)
    return chosen


class _Verdicts:
    """The results of one run's filters: each gets the backends that the one before let pass.

    So nothing that a filter returns has to be touched: many return generators.
    """

    def __init__(self, span: Span) -> None:
        self._span = span
        self._filter = ""
        self._before: list[Any] = []

    def begin(self, name: str, backends: Iterable[Any] = ()) -> None:
        """A filter is given ``backends``."""
        try:
            listed = _listed(backends)
            self._say(listed)
            self._filter, self._before = name, listed
        except Exception as error:
            log_internal_error(SEAM, error)

    def end(self, passed: Iterable[Any] | None) -> None:
        """All are through, or one has returned None and with that has let nothing pass."""
        try:
            self._say([] if passed is None else _listed(passed))
        except Exception as error:
            log_internal_error(SEAM, error)

    def _say(self, after: list[Any]) -> None:
        if not self._filter:
            return
        kept = {id(backend) for backend in after}
        rejected = [backend for backend in self._before if id(backend) not in kept]
        attributes: dict[str, Any] = {
            conventions.FILTER: self._filter,
            conventions.HOSTS_BEFORE: len(self._before),
            conventions.HOSTS_AFTER: len(after),
        }
        if rejected:
            # The scheduler keeps its backends in no order: sorted, so that traces can be compared.
            names = sorted(str(backend_name(backend)) for backend in rejected)
            attributes[conventions.HOSTS_REJECTED] = [
                redaction.identifier(name) for name in names[:_REJECTED_LIMIT]
            ]
        clock.add_event(self._span, conventions.FILTER_EVENT, attributes)


def _listed(backends: Iterable[Any]) -> list[Any]:
    """A copy of a list. Anything else might be used up by that: a generator."""
    if not isinstance(backends, (list, tuple)):
        raise TypeError(f"backends in a {type(backends).__name__}")
    return list(backends)


class _WatchedClass(_Proxy):  # type: ignore[misc]
    """A filter's class for the time of one run; the class itself is Cinder's, and stays as it is."""

    def __init__(self, wrapped: Any, verdicts: _Verdicts) -> None:
        super().__init__(wrapped)
        self._self_verdicts = verdicts

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        instance = self.__wrapped__(*args, **kwargs)
        try:
            return _WatchedFilter(instance, self.__wrapped__.__name__, self._self_verdicts)
        except Exception as error:
            log_internal_error(SEAM, error)
            return instance


class _WatchedFilter(_Proxy):  # type: ignore[misc]
    """A filter that records its input."""

    def __init__(self, wrapped: Any, name: str, verdicts: _Verdicts) -> None:
        super().__init__(wrapped)
        self._self_name = name
        self._self_verdicts = verdicts

    def filter_all(self, *args: Any, **kwargs: Any) -> Any:
        self._self_verdicts.begin(self._self_name, *args[:1])
        return self.__wrapped__.filter_all(*args, **kwargs)
