"""The pipeline of `otel-cinder demo --pipeline`: the collector, Jaeger behind it, maybe Grafana."""

from __future__ import annotations

import contextlib
import time

from otel_cinder.cli.demo.problem import Problem
from otel_cinder.reading.sources import SourceError
from otel_cinder.reading.trace import Trace

# Where compose.yaml and the Procfile have them.
COLLECTOR = "http://127.0.0.1:4318"
JAEGER = "http://127.0.0.1:16686"
GRAFANA = "http://127.0.0.1:3000"

# "Cinder at a glance", from which links lead to the others.
BOARD = "cinder-glance"

START_IT = "start the pipeline with `make up` (docker) or `make pipeline`"

_REQUEST_S = 5.0
_POLL_S = 0.2


class Pipeline:
    """The pages on which a trace can be seen; raises Problem when they do not have it."""

    def __init__(self, jaeger: str, grafana: str) -> None:
        import requests

        from otel_cinder.reading.backends import Asking, Jaeger, UnreachableError

        self._jaeger = jaeger.rstrip("/")
        self._grafana = grafana.rstrip("/")
        self._http = requests.Session()
        # A proxy must not get what is meant for this host.
        self._http.trust_env = False
        try:
            self._backend = Jaeger(jaeger, Asking(timeout_s=_REQUEST_S))
        except UnreachableError:
            raise self._no_jaeger() from None

    def check(self) -> None:
        """Make sure that Jaeger answers, before anything is started."""
        from otel_cinder.reading.backends import UnreachableError

        try:
            self._backend.services()
        except UnreachableError:
            raise self._no_jaeger() from None
        except SourceError:
            raise Problem(
                f"set --jaeger to Jaeger's address: something else answers at {self._jaeger}"
            ) from None

    def _no_jaeger(self) -> Problem:
        return Problem(f"no Jaeger answers at {self._jaeger}: {START_IT}")

    def wait_for(self, trace: Trace, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until Jaeger returns every span of the trace."""
        wanted = {span.span_id for span in trace.spans}
        deadline = time.monotonic() + timeout
        while missing := wanted - self._span_ids(trace.trace_id):
            if time.monotonic() > deadline:
                raise Problem(
                    f"the collector took the trace, but {len(missing)} of its {len(wanted)} spans "
                    f"are not in Jaeger at {self._jaeger} after {timeout:.0f} s: the collector's "
                    "log says why (`docker compose logs collector`, or where `make pipeline` runs)",
                    1,
                )
            time.sleep(_POLL_S)

    def links(self, trace: Trace) -> dict[str, str]:
        """The pages to open, by what they show; Grafana's only when it answers.

        Jaeger's page has the trace's JSON beside it where Jaeger was built without pages.
        """
        links = {"the trace": f"{self._jaeger}/trace/{trace.trace_id}"}
        with contextlib.suppress(OSError):
            page = self._http.get(links["the trace"], timeout=_REQUEST_S).text
            # As `make jaeger` builds it: with its query API, and a page that says just this.
            if "not compiled with the UI assets" in page:
                links["as JSON"] = f"{self._jaeger}/api/v3/traces/{trace.trace_id}"
        with contextlib.suppress(OSError):
            # requests' own exceptions are OSErrors, those of a wrong URL and of wrong JSON included.
            health = self._http.get(f"{self._grafana}/api/health", timeout=_REQUEST_S).json()
            if isinstance(health, dict) and health.get("database") == "ok":
                links["the boards"] = f"{self._grafana}/d/{BOARD}"
        return links

    def _span_ids(self, trace_id: str) -> set[str]:
        """The spans of a trace that Jaeger has by now."""
        try:
            traces = self._backend.traces(trace_id)
        except SourceError:
            return set()
        return {span.span_id for trace in traces for span in trace.spans}
