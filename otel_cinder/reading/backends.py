"""Traces from Jaeger and Tempo, by their query APIs: by the id of a trace, a request or a resource.

Whoever asks gets one sentence about what is wrong, with the advice first (`SourceError`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from otel_cinder.reading.sources import Records, SourceError, keys_of, take
from otel_cinder.reading.trace import Trace

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_MOST = 100
"""Traces that one search returns at most."""
_CONNECT_S = 5.0
_DAY_S = 86_400


class UnreachableError(SourceError):
    """Nothing answers at a backend's address, or the address is none."""


@dataclass(frozen=True)
class Asking:
    """How a backend is asked; ``timeout_s`` is for each answer, ``days`` for how far to look back."""

    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 30.0
    days: float = 7.0


class Backend:
    """What both have in common: a session with retries, and sentences about what went wrong."""

    name = ""
    option = ""

    def __init__(self, url: str, asking: Asking) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UnreachableError("no_url", option=self.option, url=url)
        self._url = url.rstrip("/")
        # As it may be shown: a URL can hold a password.
        host = parts.netloc.rpartition("@")[2]
        self.shown = f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
        self._asking = asking
        self._http = requests.Session()
        self._http.headers.update({"Accept": "application/json", **asking.headers})
        # A proxy must not get what is meant for this host.
        self._http.trust_env = parts.hostname not in _LOOPBACK
        retry = urllib3.Retry(
            total=3,
            read=False,  # what takes too long once takes too long again
            backoff_factor=0.2,
            status_forcelist=(429, 502, 503, 504),
            respect_retry_after_header=False,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self._http.mount(scheme, HTTPAdapter(max_retries=retry))

    def traces(self, wanted: str) -> list[Trace]:
        """The traces with this id, or about what has it, the earliest first; raises SourceError."""
        ids = list(dict.fromkeys(self._search(wanted))) if keys_of(wanted) else [wanted.lower()]
        records = self.records(*ids)
        if not records.spans:
            sentence = "not_there_lately" if keys_of(wanted) else "not_there"
            raise self._error(sentence, found=False, wanted=wanted, days=self._asking.days)
        return records.traces()

    def records(self, *trace_ids: str) -> Records:
        """What there is of these traces, if anything; raises SourceError where it can't be asked."""
        records = Records()
        for trace_id in trace_ids:
            self._fetch(trace_id, records)
        return records

    def _error(
        self,
        sentence: str,
        kind: type[SourceError] = SourceError,
        /,
        *,
        found: bool = True,
        **given: object,
    ) -> SourceError:
        about = {"name": self.name, "option": self.option, "shown": self.shown}
        return kind(sentence, found=found, **about, **given)

    def _search(self, wanted: str) -> Iterator[str]:
        raise NotImplementedError

    def _fetch(self, trace_id: str, records: Records) -> None:
        raise NotImplementedError

    def _since(self) -> tuple[int, int]:
        """From when to when is searched, in seconds since the epoch."""
        now = int(time.time())
        return now - int(self._asking.days * _DAY_S), now

    def _get(self, path: str, **parameters: Any) -> Any:
        """The answer's JSON, None for HTTP 404; raises SourceError."""
        try:
            answer = self._http.get(
                f"{self._url}{path}",
                params=parameters,
                timeout=(min(_CONNECT_S, self._asking.timeout_s), self._asking.timeout_s),
                # A header with a token is for this host, and no other.
                allow_redirects=False,
            )
        except requests.RequestException as error:
            sentence = self._unreachable(error)
            raise self._error(sentence, UnreachableError, seconds=self._asking.timeout_s) from None
        if answer.status_code == 404:
            return None
        if not answer.ok or answer.is_redirect:
            raise self._refused(answer)
        try:
            return answer.json()
        except ValueError:
            raise self._error("something_else") from None

    @staticmethod
    def _unreachable(error: requests.RequestException) -> str:
        if isinstance(error, requests.exceptions.SSLError):
            return "no_tls"
        if isinstance(error, requests.exceptions.ReadTimeout):
            return "slow"
        if isinstance(error, requests.exceptions.ProxyError):
            return "proxy"
        return "unreachable"

    def _refused(self, answer: requests.Response) -> SourceError:
        status = answer.status_code
        if status in (401, 403):
            return self._error("refused", status=status)
        if answer.is_redirect:
            return self._error("redirected", status=status)
        text = " ".join("".join(c if c.isprintable() else " " for c in answer.text[:200]).split())
        # Tempo's bounds: 7 days, and 5 MB a trace, if not set otherwise.
        sentence = {400: "too_far", 422: "too_large"}.get(status, "failed")
        return self._error(sentence, status=status, text=text)

    def _taken(self, answer: Any, records: Records) -> None:
        try:
            take(answer, records)
        except ValueError:
            raise self._error("something_else") from None


class Jaeger(Backend):
    """Jaeger's query service: ``/api/v3`` for a trace, ``/api/traces`` for searches."""

    name, option = "Jaeger", "--jaeger"

    def _search(self, wanted: str) -> Iterator[str]:
        begin, end = self._since()
        for service in self.services():
            for key in keys_of(wanted):
                answer = self._get(
                    "/api/traces",
                    service=service,
                    tags=json.dumps({key: wanted}),
                    limit=_MOST,
                    start=begin * 1_000_000,
                    end=(end + _DAY_S) * 1_000_000,  # for services whose clocks are ahead
                )
                for trace in (answer or {}).get("data") or ():
                    yield str(trace.get("traceID", "")).rjust(32, "0")

    def services(self) -> list[str]:
        """The services of Cinder, or all if none is called so; raises SourceError."""
        answer = self._get("/api/services")
        if not isinstance(answer, dict) or "data" not in answer:
            raise self._error("something_else")
        services = [str(name) for name in answer["data"] or ()]
        return [name for name in services if "cinder" in name] or services

    def _fetch(self, trace_id: str, records: Records) -> None:
        # Older releases have but the second.
        for path in (f"/api/v3/traces/{quote(trace_id)}", f"/api/traces/{quote(trace_id)}"):
            answer = self._get(path)
            if answer is not None:
                self._taken(answer, records)
                return


class Tempo(Backend):
    """Tempo's HTTP API: ``/api/traces`` for a trace, ``/api/search`` with TraceQL for searches."""

    name, option = "Tempo", "--tempo"

    def _search(self, wanted: str) -> Iterator[str]:
        begin, end = self._since()
        any_of = " || ".join(f'span.{key} = "{wanted}"' for key in keys_of(wanted))
        answer = self._get("/api/search", q=f"{{ {any_of} }}", limit=_MOST, start=begin, end=end)
        if not isinstance(answer, dict) or not isinstance(answer.get("traces") or [], list):
            raise self._error("something_else")
        for trace in answer.get("traces") or ():
            yield str(trace.get("traceID", "")).rjust(32, "0")

    def _fetch(self, trace_id: str, records: Records) -> None:
        answer = self._get(f"/api/traces/{quote(trace_id)}")
        if answer is not None:
            self._taken(answer, records)
