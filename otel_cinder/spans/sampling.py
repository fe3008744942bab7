"""One decision per trace, made where it enters Cinder, and not by a stranger."""

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

FROM_OUTSIDE = create_key("otel-cinder-stranger")
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
    """The sampler that ``OTEL_TRACES_SAMPLER`` and its ``_ARG`` name, and how to call it.

    A name that is unknown, and a ratio that is none, are warned of: the SDK goes on with its
    default then, which records every trace.
    """
    said = environ.get(env.OTEL_TRACES_SAMPLER, "").strip()
    argument = environ.get(env.OTEL_TRACES_SAMPLER_ARG, "").strip()
    name = said.lower() or _DEFAULT
    if name in _RATIOS:
        ratio = _ratio(argument)
        return _RATIOS[name](ratio), f"{name} {ratio:g}"
    if name not in _SAMPLERS:
        _warn_of_name(said)
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


def _warn_of_name(said: str) -> None:
    known = (*_SAMPLERS, *_RATIOS)
    nearest = difflib.get_close_matches(said.lower(), known, 1, 0.5)
    notices.warn(
        "Set %s to %s: there is no sampler %r, so %s is used, which records every trace.",
        env.OTEL_TRACES_SAMPLER,
        nearest[0] if nearest else f"one of {', '.join(known)}",
        said[:40],
        _DEFAULT,
    )


def _ratio(said: str) -> float:
    try:
        ratio = float(said)
        if 0 <= ratio <= 1:
            return ratio
    except ValueError:
        pass
    notices.warn(
        "Set %s to a number from 0 to 1, such as 0.1: %s, so 1 is used, which records every trace.",
        env.OTEL_TRACES_SAMPLER_ARG,
        f"{said[:40]!r} is none" if said else "it is not set",
    )
    return 1.0


class Tally:
    """How many spans were started. Plain numbers: they are counted where every span starts."""

    __slots__ = ("dropped", "sampled")

    def __init__(self) -> None:
        self.sampled = 0
        self.dropped = 0


class LocalRootSampler(Sampler):
    """Asks the configured sampler for roots, follows the parent within Cinder, and counts.

    A remote parent that came over HTTP may be anybody's. Its flag can keep a trace from being
    recorded (where the configured sampler is parent-based) but can't have one recorded, and its
    trace id, which the caller may have picked so that a ratio sampler takes it, does not count: the
    configured sampler is asked as for a new root with a random id.

    Args:
        tally: where the decisions are counted.
        trusts: whether the configured sampler is asked each time, whoever the parent is.
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
        """Whether a child of ``parent`` is sampled."""
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
