"""Samples each trace once, where it enters Cinder; HTTP callers can't force it."""

from __future__ import annotations

import difflib
import random
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context, create_key
from opentelemetry.sdk import environment_variables as env
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from otel_cinder import notices

FROM_OUTSIDE = create_key("otel-cinder-from-outside")
"""Set in the context in which a span is started whose remote parent came from an HTTP caller."""

_ROOT = Context()

_DEFAULT: Final = "parentbased_always_on"

_SAMPLERS: Final = {
    "always_on": ALWAYS_ON,
    "always_off": ALWAYS_OFF,
    _DEFAULT: DEFAULT_ON,
    "parentbased_always_off": DEFAULT_OFF,
}

_RATIOS: Final = {
    "traceidratio": TraceIdRatioBased,
    "parentbased_traceidratio": ParentBasedTraceIdRatio,
}


def configured(environ: Mapping[str, str]) -> tuple[Sampler, str]:
    """The sampler of ``OTEL_TRACES_SAMPLER`` and its ``_ARG``, and its name in messages.

    Warns of an unknown name and of a malformed ratio. Then every trace is recorded, as by the SDK.
    """
    setting = environ.get(env.OTEL_TRACES_SAMPLER, "").strip()
    argument = environ.get(env.OTEL_TRACES_SAMPLER_ARG, "").strip()
    name = setting.lower() or _DEFAULT
    if name in _RATIOS:
        ratio = _ratio(argument)
        return _RATIOS[name](ratio), f"{name} {ratio:g}"
    if name not in _SAMPLERS:
        _warn_of_name(setting)
        name = _DEFAULT
    if argument:
        notices.warn(
            "Set %s=parentbased_traceidratio to have %s=%s obeyed: %s, which is used, takes no "
            "ratio.",
            env.OTEL_TRACES_SAMPLER,
            env.OTEL_TRACES_SAMPLER_ARG,
            argument[:40],
            name,
        )
    return _SAMPLERS[name], name


def _warn_of_name(setting: str) -> None:
    known = (*_SAMPLERS, *_RATIOS)
    nearest = difflib.get_close_matches(setting.lower(), known, 1, 0.5)
    notices.warn(
        "Set %s to %s: there is no sampler %r, so %s is used, which records every trace.",
        env.OTEL_TRACES_SAMPLER,
        nearest[0] if nearest else f"one of {', '.join(known)}",
        setting[:40],
        _DEFAULT,
    )


def _ratio(argument: str) -> float:
    try:
        ratio = float(argument)
        if 0 <= ratio <= 1:
            return ratio
    except ValueError:
        pass
    notices.warn(
        "Set %s to a number from 0 to 1, such as 0.1: %s, so 1 is used, which records every trace.",
        env.OTEL_TRACES_SAMPLER_ARG,
        f"{argument[:40]!r} is none" if argument else "it is not set",
    )
    return 1.0


class Tally:
    """Counts started spans. Plain numbers: every span's start counts one."""

    __slots__ = ("dropped", "sampled")

    def __init__(self) -> None:
        self.sampled = 0
        self.dropped = 0


class LocalRootSampler(Sampler):
    """Asks the configured sampler for roots, follows the parent within Cinder, and counts.

    Any caller may send a remote parent over HTTP. Its flag can prevent a recording (if the
    configured sampler is parent-based), but can't cause one. Its trace id does not count, because
    the caller may have picked it for a ratio sampler: the configured sampler decides as for a new
    root with a random id.

    Args:
        tally: counts the decisions.
        trusts: ask the configured sampler each time, for any parent.
    """

    def __init__(self, configured: Sampler, tally: Tally, *, trusts: bool = False) -> None:
        self._configured = configured
        self._tally = tally
        self._trusts = trusts
        self._parent_based = isinstance(configured, ParentBased)
        self._random = random.SystemRandom()

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,  # noqa: ARG002 - the interface's
    ) -> SamplingResult:
        parent = trace.get_current_span(parent_context).get_span_context()
        if self._trusts or not parent.is_valid:
            result = self._configured.should_sample(
                parent_context, trace_id, name, kind, attributes, links
            )
        elif self._follows(parent, parent_context, name, kind, attributes, links):
            result = SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, parent.trace_state)
        else:
            result = SamplingResult(Decision.DROP, None, parent.trace_state)
        if result.decision is Decision.RECORD_AND_SAMPLE:
            self._tally.sampled += 1
        else:
            self._tally.dropped += 1
        return result

    def _follows(
        self,
        parent: SpanContext,
        parent_context: Context | None,
        name: str,
        kind: SpanKind | None,
        attributes: Attributes,
        links: Sequence[Link] | None,
    ) -> bool:
        """True if a child of ``parent`` is sampled."""
        sampled: bool = parent.trace_flags.sampled
        if not (parent.is_remote and parent_context and parent_context.get(FROM_OUTSIDE)):
            return sampled
        if self._parent_based and not sampled:
            return False
        result = self._configured.should_sample(
            _ROOT, self._random.getrandbits(128), name, kind, attributes, links
        )
        return bool(result.decision is Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return f"LocalRootSampler({self._configured.get_description()})"
