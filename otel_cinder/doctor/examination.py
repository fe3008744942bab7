"""Looks at each service and its virtualenv, and applies the checks."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from otel_cinder.doctor import processes, uwsgi
from otel_cinder.doctor.checks import Sight, findings_of
from otel_cinder.doctor.cinder_conf import configuration_of
from otel_cinder.doctor.findings import Finding
from otel_cinder.doctor.processes import Process
from otel_cinder.doctor.virtualenv import Facts, ProbeError, Question

_NO_EVENTLET: Final = "OS_CINDER_DISABLE_EVENTLET_PATCHING"


@dataclass(frozen=True)
class Examined:
    """One service, or a virtualenv without a running one, and its findings."""

    name: str
    """Such as ``cinder-volume 4711``, or the path of a virtualenv."""
    sight: Sight
    findings: list[Finding]


class Examination:
    """Asks each virtualenv only once for the same facts.

    Args:
        endpoint: export something, at most once for each set of variables.
        send_trace: export a span with it.
    """

    def __init__(self, *, endpoint: bool = True, send_trace: bool = False) -> None:
        self._endpoint = endpoint
        self._send_trace = send_trace
        self._answers: dict[tuple[Question, bool], Facts] = {}
        self._places: dict[object, Facts] = {}

    def of_processes(self, proc: Path, pids: Collection[int] = ()) -> list[Examined]:
        """Look at each of Cinder's services that runs, or at those with these ids."""
        examined = []
        for process in processes.find(proc, pids):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                examined.append(self._of_process(process))
        return examined

    def of_virtualenv(self, folder: Path, environ: Mapping[str, str]) -> Examined:
        """Look at a virtualenv; the settings are those of ``environ`` and of the file there."""
        python = folder / "bin" / "python"
        question = Question.of(python, environ, None, green=False)
        facts, unseen = self._ask(question, endpoint=True)
        sight = Sight(facts, unseen=unseen)
        return Examined(str(folder), sight, findings_of(sight))

    def _of_process(self, process: Process) -> Examined:
        sight = self._sight(process)
        return Examined(f"{process.service} {process.pid}", sight, findings_of(sight))

    def _sight(self, process: Process) -> Sight:
        if process.elsewhere:
            problem = f"{process.service} sees other files: run this in its container (docker exec)"
            return Sight({}, process=process, unseen=(problem,))
        options = uwsgi.options_of(process) if processes.is_uwsgi(process.argv) else None
        arguments = options.arguments if options else process.argv
        facts, unseen = self._facts(process, options)
        unread = options.unread if options else ()
        configuration = configuration_of(process, arguments)
        return Sight(facts, configuration, process, options, (*unseen, *unread))

    def _facts(
        self, process: Process, options: uwsgi.Options | None
    ) -> tuple[Facts, tuple[str, ...]]:
        python = process.python(options.home if options else "")
        if python is None:
            return {}, ("its Python can't be found",)
        environ = {**(process.environ or {}), **(options.environ if options else {})}
        green = _NO_EVENTLET not in environ and not process.is_wsgi
        question = Question.of(python, environ, process.owner, green=green)
        known = process.environ is not None or any(name.startswith("OTEL_") for name in environ)
        return self._ask(question, endpoint=known)

    def _ask(self, question: Question, *, endpoint: bool) -> tuple[Facts, tuple[str, ...]]:
        try:
            return self._answer(question, endpoint=endpoint), ()
        except ProbeError as error:
            return {}, (str(error),)

    def _answer(self, question: Question, *, endpoint: bool) -> Facts:
        key = (question, endpoint)
        if key not in self._answers:
            places = self._places.get(question.installation)
            facts = question.ask(
                seams=places is None,
                endpoint=endpoint and self._endpoint,
                send_trace=self._send_trace,
            )
            seams: Facts = {
                name: facts[name] for name in ("places", "unimportable") if name in facts
            }
            known = self._places.setdefault(question.installation, seams)
            self._answers[key] = {**facts, **known}
        return self._answers[key]
