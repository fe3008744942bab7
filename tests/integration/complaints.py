"""Lines that must not be in a service's log because of us."""

import re
from collections.abc import Iterator, Mapping

MONKEY_PATCHING = "monkey patching issues"
OURS = re.compile(r'File "[^"]*/(otel_cinder|opentelemetry)/')
OUR_LOGGER = re.compile(r" (ERROR|CRITICAL|WARNING) (otel_cinder|opentelemetry)[. ]")
TRACEBACK = "Traceback (most recent call last)"
# The scheduler repeats in one line what the volume service has logged already.
REPEATED = rf"['{TRACEBACK}:\n'"


def tracebacks(log: str) -> Iterator[list[str]]:
    """Cut a log into its tracebacks; one chained to another counts as two."""
    lines = log.splitlines()
    for start, line in enumerate(lines):
        if TRACEBACK not in line or REPEATED in line:
            continue
        block = [line]
        for following in lines[start + 1 : start + 200]:
            if TRACEBACK in following:
                break
            block.append(following)
            # Frames are indented; the exception itself is the first line that is not. oslo.log
            # puts the same prefix before each line.
            if len(following) > len(line.partition(TRACEBACK)[0]) and not _framed(line, following):
                break
        yield block


def complaints(logs: Mapping[str, str]) -> list[str]:
    """List what the logs have that tracing brought in: our tracebacks, eventlet's warning.

    A traceback of Cinder's own that merely passes through a wrapper of ours is none: the
    innermost frame, or the logger, says whose it is.
    """
    lines = []
    for service, log in logs.items():
        lines += [f"{service}: {s}" for s in log.splitlines() if MONKEY_PATCHING in s]
        for block in tracebacks(log):
            frames = [line for line in block if 'File "' in line]
            if OUR_LOGGER.search(block[0]) or (frames and OURS.search(frames[-1])):
                lines.append(f"{service}:\n" + "\n".join(block))
    return lines


def _framed(first: str, following: str) -> bool:
    """Tell whether a line of a traceback is a frame, its prefix left aside."""
    prefix = len(first.partition(TRACEBACK)[0])
    return following[prefix:].startswith(" ") or not following[prefix:].strip()
