"""Takes redaction out of a service, to show that the tests would notice: see test_secrets.py.

Python runs this at the start of every interpreter that has this folder on its PYTHONPATH.
"""

import json
from collections.abc import Iterable
from typing import Any

from otel_cinder.import_hooks import ImportHooks

REDACTION = "otel_cinder.redaction"


def _text(value: object, limit: int = 512) -> str:
    return str(value).encode("utf-8", "replace").decode()[:limit]


def _command(words: Iterable[object], limit: int = 512) -> str:
    return _text(" ".join(map(str, words)), limit)


def _value(found: object, limit: int = 2048) -> str:
    return _text(json.dumps(found, default=str, ensure_ascii=False), limit)


def _unmask() -> None:
    from otel_cinder import redaction

    unmasked: dict[str, Any] = {"text": _text, "command": _command, "value": _value}
    for name, function in unmasked.items():
        assert callable(getattr(redaction, name))
        setattr(redaction, name, function)


ImportHooks().when_imported(REDACTION, _unmask)
