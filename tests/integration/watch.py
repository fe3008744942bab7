"""Which traces came of a test's own requests, and how they are held against a golden."""

from collections.abc import Sequence

import requests

from otel_cinder.reading.trace import SpanRecord, Trace, traces_of
from tests.integration import drawing
from tests.integration.arrivals import settle
from tests.integration.operations import Operations
from tests.receiver import Receiver

ASKED = ("request_id", "project_id", "user_id")


class Watch:
    """The traces of the requests since the watch began; made by the fixture of this name."""

    def __init__(self, cinder: Operations, receiver: Receiver, update: bool) -> None:
        self._cinder, self._receiver, self._update = cinder, receiver, update

    def begin(self) -> None:
        """Forget what was asked for in preparation."""
        self._cinder.answers.clear()

    def traces(self, name: str, trace_ids: Sequence[str] = ()) -> list[Trace]:
        """Wait for the spans; return each request's trace, or these, drawn as in the golden.

        A fan-out starts traces of its own that link to the request's; those are not among them.
        """
        if not self._update:
            self._receiver.wait_for(lambda spans: self._are_as(name, spans, trace_ids), 20)
        traces = self._among(settle(self._receiver), trace_ids)
        drawing.compare(name, traces, self._update)
        return traces

    def arrived(self) -> list[Trace]:
        """Wait until no more spans come; return each request's trace."""
        return self._among(settle(self._receiver), ())

    def whole(self, name: str, *services: str) -> list[Trace]:
        """Check that each trace is whole and without errors, and that these services took part.

        Each service's own spans say who asked, and in which request.
        """
        traces = self.traces(name)
        for trace in traces:
            assert trace.is_whole, drawing.draw([trace])
            said = {_asked(span) for span in trace.spans if span.kind in ("server", "consumer")}
            assert len(said) == 1, said
            assert all(said.pop()), drawing.draw([trace])
        assert not [span.name for span in errors(traces)]
        assert {service for trace in traces for service in trace.services} == set(services)
        return traces

    def _are_as(self, name: str, spans: list[SpanRecord], trace_ids: Sequence[str]) -> bool:
        try:
            drawing.compare(name, self._among(spans, trace_ids), update=False)
        except (AssertionError, ValueError):  # ValueError: a request without its trace
            return False
        return True

    def _among(self, spans: list[SpanRecord], trace_ids: Sequence[str]) -> list[Trace]:
        arrived = traces_of(spans)
        if trace_ids:
            return [trace for trace in arrived if trace.trace_id in trace_ids]
        return [self._trace_of(answer, arrived) for answer in self._cinder.answers]

    def _trace_of(self, answer: requests.Response, arrived: list[Trace]) -> Trace:
        """Return the only trace that begins with the request which was answered so."""
        request_id = answer.headers["x-openstack-request-id"]
        (trace,) = [
            trace
            for trace in arrived
            for span in trace.tops()
            if span.kind == "server" and span.attributes.get("openstack.request_id") == request_id
        ]
        return trace


def _asked(span: SpanRecord) -> tuple[object, ...]:
    return tuple(span.attributes.get(f"openstack.{name}") for name in ASKED)


def errors(traces: list[Trace]) -> list[SpanRecord]:
    """List the spans that ended in an error."""
    return [span for trace in traces for span in trace.spans if span.status == "error"]
