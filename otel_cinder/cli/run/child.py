"""The command as a child: with its requests marked, and with the caller's terminal and signals."""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from otel_cinder import import_hooks
from otel_cinder.cli.run import marking
from otel_cinder.reading.sources import Records, take

_OWN = (
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-semantic-conventions",
    "opentelemetry-instrumentation",
    "opentelemetry-instrumentation-requests",
    "opentelemetry-util-http",
)
_SHARED = ("deprecated", "importlib-metadata", "packaging", "typing-extensions", "wrapt", "zipp")

# Python imports this at its start, from the first folder of its path that has such a file. It is
# written for any Python: the rest may be too new for the command's.
_SITECUSTOMIZE = f"""\
import os, sys
_folder = os.path.dirname(os.path.abspath(__file__))
try:
    import otel_cinder_hooks, otel_cinder_marking
    otel_cinder_marking.begin(_folder, otel_cinder_hooks.ImportHooks().when_imported)
except Exception as error:
    import json
    _why = "Python %d.%d: %s" % (sys.version_info[0], sys.version_info[1], error)
    try:
        with open(os.path.join(_folder, "{marking.RECORDED}"), "a") as _file:
            _file.write(json.dumps({{"{marking.STAGE}": "{marking.FAILED}", "why": _why}}) + "\\n")
    except OSError:
        pass
# The host's own comes next, which this one hides.
sys.path[:] = [each for each in sys.path if os.path.abspath(each) != _folder]
_ours = sys.modules.pop("sitecustomize")
try:
    import sitecustomize
except ImportError as error:
    if error.name != "sitecustomize":
        raise
finally:
    sys.modules.setdefault("sitecustomize", _ours)
"""

_FLAGS = frozenset({"--debug", "--insecure", "--quiet", "--verbose", "--verify", "-q", "-v", "--"})
"""Options of OpenStack's clients without a value; after others, the next word is one."""
_WORDS = 4

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
"""Exit statuses of a shell for a command that it can't run (POSIX)."""
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
"""The terminal sends these to the command too."""


class NotRunError(Exception):
    """Why the command could not be run; ``status`` is a shell's exit status for that."""

    def __init__(self, phrase: str, status: int, /, **given: object) -> None:
        super().__init__(phrase)
        self.phrase = phrase
        self.status = status
        self.given = given


class MissingPackageError(Exception):
    """A package that marks the requests is not installed here; the text is its name."""


@dataclass
class Told:
    """What the command's Pythons have written down so far."""

    records: Records = field(default_factory=Records)
    stages: set[str] = field(default_factory=set)
    """`marking.STARTED` and so on."""
    why: str = ""
    """Why a Python's requests could not be marked."""


class Child:
    """A command, to be run once; ``folder`` is empty and its own."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self.command = list(command)
        self.trace_id = f"{random.SystemRandom().getrandbits(128) or 1:032x}"
        self.span_id = f"{random.SystemRandom().getrandbits(64) or 1:016x}"
        self.status = 0
        self._folder = folder
        self._times = (0, 0)
        _prepare(folder)

    @property
    def program(self) -> str:
        """The name of its program."""
        return Path(self.command[0]).name

    @property
    def name(self) -> str:
        """Its first words. Options are left out: they may hold a password."""
        rest = self.command[1:]
        while rest and rest[0].startswith("-"):
            flag = rest[0] in _FLAGS or "=" in rest[0]
            del rest[: 1 if flag else 2]
        words = itertools.takewhile(lambda word: not word.startswith("-"), rest)
        return " ".join([self.program, *itertools.islice(words, _WORDS)])

    def run(self, environment: Mapping[str, str]) -> int:
        """Run it to its end with this process's own files, and return its exit status.

        As in a shell, that is 128 and the signal's number if a signal has ended it. Raises NotRunError.
        """
        begin, clock = time.time_ns(), time.monotonic_ns()
        with _Signals() as signals:
            try:
                process = subprocess.Popen(self.command, env=self._marked(environment))
            except OSError as error:
                raise _why_not(self.command[0], error) from None
            signals.pass_to(process)
            status = process.wait()
        self._times = begin, begin + time.monotonic_ns() - clock
        self.status = 128 - status if status < 0 else status
        return self.status

    def told(self) -> Told:
        """What is known of its requests by now."""
        told = Told()
        for line in (self._folder / marking.RECORDED).read_text("utf-8", "replace").splitlines():
            with contextlib.suppress(ValueError):  # the process was killed while it wrote
                data = json.loads(line)
                if marking.STAGE in data:
                    told.stages.add(data[marking.STAGE])
                    told.why = told.why or data["why"]
                else:
                    take(data, told.records)
        return told

    def root(self) -> dict[str, Any]:
        """The span of the whole command, as OTLP/JSON."""
        error = f"exit status {self.status}" if self.status else None
        return marking.export(
            self.program,
            self.name,
            1,
            (self.trace_id, self.span_id, None),
            self._times,
            {"process.exit.code": self.status},
            error,
        )

    def _marked(self, environment: Mapping[str, str]) -> dict[str, str]:
        paths = [str(self._folder), environment.get("PYTHONPATH")]
        return {
            **environment,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            # Sampled: the services decide, and would not record what says that it is not.
            marking.TRACEPARENT: f"00-{self.trace_id}-{self.span_id}-01",
        }


def _prepare(folder: Path) -> None:
    """Fill the folder that the command's Pythons begin with."""
    (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE)
    (folder / "otel_cinder_marking.py").symlink_to(marking.__file__)
    (folder / "otel_cinder_hooks.py").symlink_to(import_hooks.__file__)
    (folder / marking.RECORDED).touch()
    for name, packages in ((marking.OWN, _OWN), (marking.SHARED, _SHARED)):
        (folder / name).mkdir()
        for package in packages:
            _link(package, folder / name)


def _link(package: str, folder: Path) -> None:
    """Link what a package has at the top of site-packages, its metadata too."""
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        if package in _OWN:
            raise MissingPackageError(package) from None
        return  # needed by some releases only
    for top in {Path(file).parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
        link = folder / top
        if not link.exists():
            link.symlink_to(Path(str(distribution.locate_file(top))).absolute())


class _Signals:
    """While it is entered, signals are the command's: the terminal sends it its own, others are passed on."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        for number in (*_FROM_TERMINAL, *_PASSED_ON):
            # What the caller ignores, as `nohup` does, stays ignored, in the command too. A handler
            # is not inherited: on the command a signal has its own effect.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def pass_to(self, process: subprocess.Popen[bytes]) -> None:
        """Pass on what comes from now on, and what has come before."""
        self._process = process
        while self._early:
            process.send_signal(self._early.pop(0))

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if number in _FROM_TERMINAL:
            return
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)


def _why_not(program: str, error: OSError) -> NotRunError:
    if error.errno == errno.ENOENT and shutil.which(program) is None:
        return NotRunError("run_not_found", _NOT_FOUND, command=program)
    if error.errno == errno.ENOENT:
        return NotRunError("run_no_interpreter", _NOT_EXECUTABLE, command=program)
    return NotRunError(
        "run_not_executable", _NOT_EXECUTABLE, command=program, why=error.strerror or error
    )
