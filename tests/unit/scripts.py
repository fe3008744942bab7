"""Runs Python scripts in processes of their own, for tests of eventlet, forks and exits."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]

EVENTLET = """
import warnings; warnings.simplefilter("ignore")
import eventlet; eventlet.monkey_patch()
"""

RECORDED = """
import otel_cinder
from otel_cinder.settings import Settings
from opentelemetry import context as otel_context, trace
from tests.unit.recording import Recorder
spans = Recorder()
otel_cinder.instrument(tracer_provider=spans.provider)
"""
"""Instrumented, with the ended spans in ``spans``."""

EXPORTED = """
import otel_cinder
from opentelemetry import context as otel_context
from otel_cinder.spans.runtime import runtime, flush
otel_cinder.instrument()
def span(name):
    runtime.start_span(name, otel_context.get_current()).end()
"""
"""Instrumented, with ``span(name)``, which is exported as the environment says."""

PATIENT = """
from otel_cinder.spans.runtime import Runtime
Runtime.flush.__defaults__ = flush.__defaults__ = (200.0,)
"""
"""Behind EXPORTED: a flush waits as long as it takes, on a busy machine maybe more than 5 s."""


@dataclass(frozen=True)
class Ran:
    """A script's status and output."""

    status: int
    stdout: str
    stderr: str

    @property
    def said(self) -> Any:
        """The last line of its output, which is JSON."""
        return json.loads(self.stdout.splitlines()[-1])


_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Where they are set, requests believes them rather than its session, and so the exporter."""


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without its OTEL_* variables, and ``more``."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    for name in _CERTIFICATES:
        env.pop(name, None)
    env["PYTHONPATH"] = str(ROOT)
    # Of forks beside threads, which is what many scripts are for. Python 3.12 and newer say so.
    env["PYTHONWARNINGS"] = "ignore:This process:DeprecationWarning"
    return {**env, **(more or {})}


HUNG_S = 240
"""Seconds after which a script counts as hung, also on a busy machine."""


def run(*parts: str, env: Mapping[str, str] | None = None, timeout: float = HUNG_S) -> Ran:
    """Run the parts, joined, as one script; a failure of it is this test's."""
    ran = run_anyhow(*parts, env=env, timeout=timeout)
    assert ran.status == 0, ran.stderr
    return ran


def run_anyhow(*parts: str, env: Mapping[str, str] | None = None, timeout: float = HUNG_S) -> Ran:
    """Run the parts, joined, as one script, whatever it ends with."""
    source = "\n".join(textwrap.dedent(part) for part in parts)
    done = subprocess.run(
        [sys.executable, "-c", source],
        env=environment(env),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)
