"""Commands that Cinder, its drivers and os-brick run, over SSH and with privileges too.

A command that os-brick runs as root goes to the privsep daemon, which runs it for us: it is one
span here, and none over there. What a command reads and prints is never recorded.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any, Final, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import Span

from otel_cinder import conventions, redaction
from otel_cinder.patching.internal_errors import log_internal_error
from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.spans import calls
from otel_cinder.spans.runtime import runtime

SEAM: Final = "commands"

_PROCESSUTILS: Final = "oslo_concurrency.processutils"

_LINE_LIMIT: Final = 512
"""Characters of a command line that are kept."""

_EXECUTES: Final = frozenset({"custom_execute", "execute", "execute_root"})
"""Privileged functions whose arguments are a command's words."""

_NAME: Final = re.compile(r"[\w.+-]{1,64}")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=")
_EMPTY: Final = Context()


class _Launcher(NamedTuple):
    """A program that runs the one named behind it."""

    options: frozenset[str] = frozenset()
    """Its options whose value is a word of its own."""
    operands: int = 0
    """Words of its own between its options and the program."""


_LAUNCHERS: Final = {
    "cgexec": _Launcher(frozenset({"-g"})),
    "chrt": _Launcher(frozenset({"-T", "-P", "-D"}), 1),
    "cinder-rootwrap": _Launcher(operands=1),
    "env": _Launcher(frozenset({"-u", "--unset", "-C", "--chdir"})),
    "ionice": _Launcher(frozenset({"-c", "--class", "-n", "--classdata"})),
    "nice": _Launcher(frozenset({"-n", "--adjustment"})),
    "nohup": _Launcher(),
    "setsid": _Launcher(),
    "stdbuf": _Launcher(frozenset({"-i", "-o", "-e"})),
    "sudo": _Launcher(frozenset({"-u", "--user", "-g", "--group", "-p", "-C", "-r", "-t", "-h"})),
    "taskset": _Launcher(operands=1),
    "timeout": _Launcher(frozenset({"-k", "--kill-after", "-s", "--signal"}), 1),
}


def patch(patches: PatchSet) -> None:
    """Patch the functions that run commands, and privsep's calls of its daemon."""
    patches.wrap(SEAM, f"{_PROCESSUTILS}:execute", _execute)
    patches.wrap(SEAM, f"{_PROCESSUTILS}:ssh_execute", _ssh_execute)
    patches.wrap(SEAM, "oslo_privsep.priv_context:PrivContext._wrap", _privileged)
    patches.wrap(SEAM, "oslo_privsep.daemon:Daemon.run", _daemon)


def _execute(
    wrapped: Callable[..., Any],
    _module: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """``execute(*words, **options)``: a command of this process's own."""

    def begin(context: Context) -> tuple[Span, Context]:
        words = [str(word) for word in args]
        span = _start(_split(words[0]) if kwargs.get("shell") else words, context)
        # It is told the process, and so the exit code, also of a command that may fail.
        then = kwargs.get("on_completion")
        kwargs["on_completion"] = functools.partial(_completed, span, then)
        return span, context

    return calls.traced(SEAM, begin, wrapped, args, kwargs, fail=_fail)


def _ssh_execute(
    wrapped: Callable[..., Any],
    _module: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """``ssh_execute(ssh, line, ...)``: a command on another host."""

    def begin(context: Context) -> tuple[Span, Context]:
        line = args[1] if len(args) > 1 else kwargs["cmd"]
        return _start(_split(str(line)), context), context

    # No exit code but a failure's: success may also mean that the other side has sent none.
    return calls.traced(SEAM, begin, wrapped, args, kwargs, fail=_fail)


def _privileged(
    wrapped: Callable[..., Any],
    privileges: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """``_wrap(function, *args, **kwargs)``: a function in the privileged daemon.

    Where it runs in this process (the daemon's, or a test's), it is a call as any other.
    """

    def begin(context: Context) -> tuple[Span, Context] | None:
        if not getattr(privileges, "client_mode", True):
            return None
        function, *words = args
        attributes = {conventions.CODE_FUNCTION: f"{function.__module__}.{function.__qualname__}"}
        if function.__name__ in _EXECUTES:
            return _start([str(word) for word in words], context, attributes), context
        name = f"privsep {function.__name__}"
        return runtime.start_span(name, context, attributes=attributes), context

    def succeed(span: Span) -> None:
        exit_code = _only_exit_code(kwargs) if args[0].__name__ in _EXECUTES else None
        if exit_code is not None:
            span.set_attribute(conventions.EXIT_CODE, exit_code)

    return calls.traced(SEAM, begin, wrapped, args, kwargs, fail=_fail, succeed=succeed)


def _start(
    words: Sequence[str], context: Context, attributes: dict[str, str] | None = None
) -> Span:
    program = _program(words)
    name = PurePath(words[program]).name
    if not _NAME.fullmatch(name):
        name = "_OTHER"  # not a word: a line that a shell is to take apart, say
    line = redaction.command(words, _LINE_LIMIT)
    return runtime.start_span(
        f"execute {name}",
        context,
        attributes={
            conventions.COMMAND: name,
            **({conventions.COMMAND_LINE: line} if line else {}),
            **(attributes or {}),
        },
    )


def _completed(span: Span, then: Callable[[Any], Any] | None, process: Any) -> None:
    """Record a process's exit code (negative: the signal that ended it), then call the caller's callback."""
    try:
        if isinstance(process.returncode, int):  # None: it has timed out
            span.set_attribute(conventions.EXIT_CODE, process.returncode)
    except Exception as error:
        log_internal_error(SEAM, error)
    if then:
        then(process)


def _fail(span: Span, error: BaseException) -> None:
    """Record a command's failure. That alone does not make its span an error.

    Cinder and os-brick probe: whether ``nvme`` is there, whether a path is a mount. Whether it
    mattered, the span around says, by what it makes of it.
    The message of a failed command holds what it printed, and that of one that took too long all
    of its words: neither is taken over.
    """
    span.set_attribute(conventions.ERROR_TYPE, type(error).__qualname__)
    exit_code = getattr(error, "exit_code", None)
    if isinstance(exit_code, int):
        span.set_attribute(conventions.EXIT_CODE, exit_code)


def _only_exit_code(kwargs: dict[str, Any]) -> int | None:
    """The exit code of a command that succeeds, where only one is allowed to it.

    The daemon does not tell the exit code, and os-brick may be asked to make light of a timeout.
    """
    allowed = kwargs.get("check_exit_code")
    if allowed is False or kwargs.get("raise_timeout", True) is not True:
        return None
    if allowed is None or allowed is True:
        return 0
    codes = {allowed} if isinstance(allowed, int) else set(allowed)
    return int(codes.pop()) if len(codes) == 1 else None


def _daemon(
    wrapped: Callable[..., Any], _daemon: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Run the privsep daemon with an empty context: it inherited the forking request's."""
    token = otel_context.attach(_EMPTY)
    try:
        return wrapped(*args, **kwargs)
    finally:
        otel_context.detach(token)


# Command lines


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line) or [line]
    except ValueError:  # a quote that is left open
        return line.split() or [line]


def _program(words: Sequence[str]) -> int:
    """Index of the program behind those that only launch it: ``env LC_ALL=C lvs`` -> 2."""
    place = 0
    while place < len(words):
        if _ASSIGNMENT.match(words[place]):
            place += 1
            continue
        launcher = _LAUNCHERS.get(PurePath(words[place]).name)
        if launcher is None:
            return place
        place += 1
        while place < len(words) and words[place].startswith("-"):
            place += 2 if words[place] in launcher.options else 1
        place += launcher.operands
    return 0
