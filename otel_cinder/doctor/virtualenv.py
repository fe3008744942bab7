"""Asks the Python of a virtualenv, in a process of its own, for the facts that `probe` collects."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from otel_cinder.doctor import probe

_PATIENCE_S: Final = 180.0

_PASSED_ON: Final = re.compile(
    r"PATH|HOME|LANG|LC_\w+|LD_LIBRARY_PATH|PYTHONPATH|PYTHONHOME|NETRC|REQUESTS_CA_BUNDLE"
    r"|CURL_CA_BUNDLE|SSL_CERT_\w+|(?i:\w+_proxy)"
)
"""The variables that affect imports, or the way to a collector."""

Facts = dict[str, Any]


class ProbeError(Exception):
    """The probe could not run in the virtualenv. The text has the reason."""


@dataclass(frozen=True)
class Question:
    """All that an answer depends on; equal questions have equal answers."""

    python: Path
    environ: tuple[tuple[str, str], ...]
    """The variables that are passed on, and the ``OTEL_*`` variables."""
    owner: tuple[int, int, tuple[int, ...]] | None
    """The user and groups to ask as; None: our own."""
    green: bool
    """True if eventlet patches the service's threads."""

    @classmethod
    def of(
        cls,
        python: Path,
        environ: Mapping[str, str],
        owner: tuple[int, int, tuple[int, ...]] | None,
        *,
        green: bool,
    ) -> Question:
        """The question for a service that runs with these variables."""
        kept = {
            name: value
            for name, value in environ.items()
            if name.startswith("OTEL_") or _PASSED_ON.fullmatch(name)
        }
        return cls(python, tuple(sorted(kept.items())), owner, green)

    @property
    def installation(self) -> tuple[Path, str]:
        """All that decides which modules are imported."""
        return self.python, dict(self.environ).get("PYTHONPATH", "")

    def ask(self, *, seams: bool, endpoint: bool, send_trace: bool) -> Facts:
        """Return the facts. Raises ProbeError.

        Args:
            seams: patch what is installed, in that process alone.
            endpoint: export nothing, once for each signal.
            send_trace: export one span instead.
        """
        given = dict(self.environ)
        request = {
            "environ": {name: v for name, v in given.items() if name.startswith("OTEL_")},
            "green": self.green,
            "seams": seams,
            "endpoint": endpoint,
            "send_trace": send_trace,
        }
        environ = {name: v for name, v in given.items() if name not in request["environ"]}  # type: ignore[operator]
        # The .pth file and settings file of that virtualenv must not switch tracing on in the child.
        return self._run(json.dumps(request), {**environ, "OTEL_CINDER_ENABLED": "false"})

    def _run(self, request: str, environ: dict[str, str]) -> Facts:
        source = Path(probe.__file__).read_text(encoding="utf-8")
        try:
            done = subprocess.run(
                [self.python, "-B", "-c", source],
                input=request,
                env=environ,
                cwd="/",
                capture_output=True,
                text=True,
                timeout=_PATIENCE_S,
                check=False,
                **self._privileges(),
            )
            facts: Facts = json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            raise ProbeError(f"{self.python} did not answer in {_PATIENCE_S:.0f} s") from None
        except OSError as error:
            raise ProbeError(f"{self.python} can't be run: {error.strerror}") from error
        except ValueError:
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise ProbeError(f"{self.python} failed: {last[:200]}") from None
        return facts

    def _privileges(self) -> dict[str, Any]:
        """Never root for another's code, and with that user's view of files."""
        if self.owner is None or os.geteuid() != 0 or self.owner[0] == 0:
            return {}
        user, group, groups = self.owner
        return {"user": user, "group": group, "extra_groups": groups}
