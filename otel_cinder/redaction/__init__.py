"""Turns any value into a bounded attribute without secrets, as far as they can be recognized.

A secret is recognized by one of four signs:

- **Its value**: secrets of the configuration (`add_known_values`), and a request's own token
  (`with_known_values`).
- **Its shape**: Fernet tokens, JWTs, Ceph's and DH-HMAC-CHAP's keys, private keys, random words.
- **Its place**: the user of a URL, its query, the path behind a login; what ``curl -u`` takes.
- **Its name**: ``password=``, ``"auth_token":``, ``<chapSecret>``, ``--os-password``, ``密码：``; and
  the rest of the line, if the end of the value can't be seen.

None of this is certain. To be certain, record no free text at all (`leave_out_texts`): then only
names of things, classes, places and templates are recorded.

oslo.utils' ``mask_password`` is not used. Its names and forms are known here too (a test goes over
its own lists), and it does not know the other signs, headers or structures.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import itertools
import json
import re
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, Final

from opentelemetry.util.http import sanitize_method

from otel_cinder.redaction import known_values, names, patterns, prose, values
from otel_cinder.redaction.known_values import (
    add_known_values,
    can_be_known,
    clear_known_values,
    with_known_values,
)
from otel_cinder.redaction.names import promises_secret
from otel_cinder.redaction.places import MASK

__all__ = [
    "add_known_values",
    "can_be_known",
    "clear_known_values",
    "command",
    "http_method",
    "identifier",
    "keeps_secret",
    "leave_out_texts",
    "masked",
    "masked_unless_harmless",
    "plain",
    "promises_secret",
    "stacktrace",
    "tail",
    "text",
    "texts_are_left_out",
    "value",
    "with_known_values",
    "without_secrets",
]

MESSAGE_LIMIT: Final = 512
"""Characters of an exception's message that are kept."""

STACKTRACE_LIMIT: Final = 4096
"""Characters of a stack trace that are kept, from its end, where the failure is."""

VALUE_LIMIT: Final = 2048
"""Characters of a structure's JSON that are kept."""

_STRING_LIMIT: Final = 256
"""Characters of one string within a structure."""

_MOST_ITEMS: Final = 256
"""Items of one structure that are looked at, where it is formatted in a text that is cut."""

_MORE: Final = 4096
"""Characters that are looked at beyond those that are shown: what is masked makes room for them."""

_LONGEST_WORD: Final = 512
"""Characters that are left out where a text is cut, until a blank."""

_DEEPEST: Final = 12
_DEEPEST_ENCODING: Final = 3

_ID: Final = re.compile(r"(?:req-)?[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
"""Ids as Cinder makes them. A token may look like one, and is known then."""

_INERT: Final = re.compile(r"(?a)[\w.@-]{0,24}|[a-z\d_.@-]{0,64}")
"""Ids and names: there is nothing in them that could lead to a value, or be a token."""

_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"})
"""Methods that Cinder's API has."""

_IDENTIFIER: Final = re.compile(r"[\w.@#:/+{}<>~*,-]+")
_NOTHING_SAID: Final = ""
_FRAME: Final = re.compile(r'^ *File "[^"\n]{1,400}", line \d+, in [\w<>.]{1,200}', re.MULTILINE)

# Structures that are private as a whole: a tenant's words, a connection's parameters.
_SUBTREE: Final = re.compile(r"(?i)^auth$|metadata$|^connection_(?:data|properties)$|^image_meta$")
_OPTION: Final = re.compile(r"-{0,2}[\w.-]{1,64}")
_BLANK: Final = re.compile(r"\s")


_left_out: bool = False


def leave_out_texts(yes: bool) -> None:
    """Record no free text from now on, or do again: `text`, `command` and `value` are empty then."""
    global _left_out
    _left_out = yes


def texts_are_left_out() -> bool:
    """True if no free text may be recorded: see `leave_out_texts`."""
    return _left_out


def text(value: object, limit: int = MESSAGE_LIMIT) -> str:
    """``value`` as text, secrets masked, at most ``limit`` characters. Never raises.

    Empty where free texts are left out.
    """
    return "" if _left_out else masked(value, limit)


def identifier(value: object, limit: int = 255) -> str:
    """``value``, which names something (an id, a host, a backend), as text. Never raises.

    Where free texts are left out it is empty if it does not look like a name.
    """
    if not _left_out:
        return masked(value, limit)
    name = masked(value, limit)
    return name if _IDENTIFIER.fullmatch(name) else ""


def masked(value: object, limit: int = MESSAGE_LIMIT) -> str:
    """``value`` as text, secrets masked, even where texts are left out; for our own log lines."""
    try:
        if type(value) is str and len(value) <= limit:  # most values of a request leave here
            if _ID.fullmatch(value):
                if not known_values.is_known(value):
                    return value
            elif _INERT.fullmatch(value) and known_values.mask(value, limit) == value:
                return value
        # Cut before matching as well, so that a huge message costs no more than a long one.
        shown = _begin(str(value), min(4 * limit, limit + _MORE))
        if not _INERT.fullmatch(shown):
            shown = _mask_text(shown, limit)
    except Exception:  # an exception's __str__ is the host's code and may raise anything
        return f"<unprintable {type(value).__name__}>"
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _begin(text: str, room: int) -> str:
    """The beginning of ``text``, at most ``room`` characters, with known secrets masked.

    A last word that was cut is left out, because it can't be recognized.
    """
    begin = plain(known_values.mask(text, room))
    if len(text) <= room:
        return begin
    blank = max(begin.rfind(" "), begin.rfind("\n"), len(begin) - _LONGEST_WORD)
    return begin[: max(blank, 0)]


def _mask_text(text: str, limit: int) -> str:
    """``text`` without the secrets that something points at, encoded a few times over or not.

    Only the first ``limit`` characters are reliable, and the fact that there were more.
    """
    room = limit + 1
    result = shown = patterns.mask(text, room)
    for _ in range(_DEEPEST_ENCODING):
        before, shown = shown, patterns.decoded(shown)
        if shown == before:
            break
        masked = patterns.mask(known_values.mask(shown, len(shown)), room)
        if masked != shown:  # else it stays encoded as it was
            result = shown = masked
    return plain(result)


def command(words: Iterable[object], limit: int = MESSAGE_LIMIT) -> str:
    """A command's words as text, secrets masked to the ends of their words. Never raises.

    Empty where free texts are left out.
    """
    if _left_out:
        return ""
    try:
        return text(" ".join(_words(words, limit)), limit).replace("\0", " ")
    except Exception:
        return "<unprintable command>"


def _words(words: Iterable[object], limit: int) -> Iterator[str]:
    """The first words of a command; a blank in a word does not look like its end."""
    left = 4 * limit
    for word in itertools.islice(words, limit):
        shown = str(word)
        if left <= 0:
            yield "…"
            break
        if _BLANK.search(shown, 0, 4 * limit):
            yield _BLANK.sub("\0", _mask_text(_begin(shown, 4 * limit), limit))
        else:  # text() masks it as well as this could
            yield shown
        left -= len(shown) + 1


def value(item: object, limit: int = VALUE_LIMIT) -> str:
    """``item`` as JSON of at most ``limit`` characters, secrets masked by name and by text.

    The host's own code is not called. Plain values, structures, dataclasses and exceptions are
    shown; other objects by their class, and by their id if they have one at hand. Never raises.
    Where free texts are left out, the value is ``…``.
    """
    return _LEFT_OUT if _left_out else _json(item, limit, ())


def without_secrets(item: object) -> object:
    """A copy of ``item``, secrets masked by name if it is a structure, for a format string.

    Strings in it stay as they are: the formatted text is masked as a whole. Never raises.
    """
    try:
        return _copied(item, 0)
    except Exception:  # a class may have made any of this raise
        return _LEFT_OUT


def masked_unless_harmless(item: object) -> object:
    """``***`` for a value whose text calls it a secret, unless it is harmless.

    Harmless are None, numbers, errors, the empty string, ids and plain words.
    """
    if item is None or isinstance(item, (bool, int, float, BaseException)):
        return item
    text = item if isinstance(item, str) else ""
    return MASK if item != "" and prose.may_be_secret(text) else item


def keeps_secret(name: str, value: object) -> bool:
    """True if ``value`` is a secret because of its name. ``password_length = 8`` is not."""
    if not promises_secret(name):
        return False
    return not (names.says_about(name) and _is_plain(value))


def stacktrace(frames: str, limit: int = STACKTRACE_LIMIT) -> str:
    """The end of a stack trace without its exception's message, secrets masked.

    Where free texts are left out, only files, lines and functions.
    """
    if not _left_out:
        return text(tail(frames, limit), limit)
    return tail("".join(f"{frame}\n" for frame in _FRAME.findall(frames)), limit)


def http_method(environ: Mapping[str, Any]) -> str:
    """The method for a span's name: one of HTTP's own, or ``HTTP`` for any other."""
    method = str(environ.get("REQUEST_METHOD", "")).strip()
    if method in _METHODS:  # most requests: to look into os.environ takes ten times as long
        return method
    method = sanitize_method(method)
    return method if method and method != "_OTHER" else "HTTP"


def plain(value: str) -> str:
    """``value`` without lone surrogates (from a request's JSON, or a command's output).

    They can't be exported, and would take the whole batch of spans with them.
    """
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def tail(value: str, limit: int = STACKTRACE_LIMIT) -> str:
    """The last ``limit`` characters of a stack trace, from the beginning of a line on.

    In a line that is cut, the name before a secret may be missing.
    """
    if len(value) <= limit:
        return value
    end = value[1 - limit :]
    line = end.find("\n", 0, _LONGEST_WORD)
    return "…" + (end[line:] if line >= 0 else end)


_LEFT_OUT: Final = '"…"'
"""Replaces a value that has no room."""

# Types whose own code, Python's, shows them in a bounded form.
_SCALARS: Final[Mapping[type, Callable[[Any], object]]] = {
    uuid.UUID: str,
    dt.datetime: dt.datetime.isoformat,
    dt.date: dt.date.isoformat,
    dt.timedelta: str,
    decimal.Decimal: str,
}


def _json(item: object, room: int, around: tuple[int, ...]) -> str:
    """``item`` in at most ``room`` characters; `_LEFT_OUT` where that is too few."""
    try:
        kind = type(item)
        if item is None or kind is bool:
            shown = json.dumps(item)
        elif issubclass(kind, enum.Enum):
            shown = _quoted(f"{kind.__name__}.{item._name_}", room)  # type: ignore[attr-defined]
        elif issubclass(kind, int):
            shown = int.__repr__(item)
        elif issubclass(kind, float):
            shown = float.__repr__(item)
            shown = shown if shown[-1].isdigit() else _quoted(shown, room)  # nan, inf
        elif issubclass(kind, str):
            shown = _quoted(str.__str__(item), room)
        elif issubclass(kind, (bytes, bytearray)):
            shown = f'"<{len(item)} bytes>"'  # type: ignore[arg-type]
        elif kind in _SCALARS:
            shown = _quoted(_SCALARS[kind](item), room)
        elif issubclass(kind, PurePath):
            shown = _quoted(PurePath.__str__(item), room)
        elif issubclass(kind, BaseException):
            shown = _quoted(f"{kind.__name__}: {text(item, room)}", room)
        elif id(item) in around or len(around) >= _DEEPEST:
            shown = _LEFT_OUT
        else:
            shown = _structure(item, kind, room, (*around, id(item)))
    except Exception:  # a class may have made any of this raise
        shown = '"<unprintable>"'
    return shown if len(shown) <= room else _LEFT_OUT


def _structure(item: Any, kind: type, room: int, around: tuple[int, ...]) -> str:
    # The base classes' own methods: a subclass may load something from a database on the way.
    if issubclass(kind, dict):
        return _object(dict.items(item), room, around)
    if dataclasses.is_dataclass(kind) and not isinstance(item, type):
        fields = (field.name for field in dataclasses.fields(kind))
        return _object(((name, _field(item, name)) for name in fields), room, around)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _object(zip(kind._fields, tuple.__iter__(item), strict=False), room, around)
    for base in (list, tuple, set, frozenset, deque):
        if issubclass(kind, base):
            return _array(base.__iter__(item), room, around)
    identity = ""
    try:
        attributes = object.__getattribute__(item, "__dict__")
        identity = attributes.get("_obj_id") or attributes.get("id")
    except Exception:  # no attributes, or no ordinary ones
        identity = ""
    if identity and type(identity) in (str, int):
        return _quoted(f"<{kind.__name__} {text(identity, 64)}>", room)
    return f'"<{kind.__name__}>"'


def _field(item: object, name: str) -> object:
    try:
        return object.__getattribute__(item, name)
    except AttributeError:
        return None


def _object(items: Iterable[tuple[object, object]], room: int, around: tuple[int, ...]) -> str:
    parts: list[str] = []
    left = room - 2 - len(f", {_LEFT_OUT}: {_LEFT_OUT}")
    named = ""
    for key, item in items:
        name = str.__str__(key) if isinstance(key, str) else str(_json(key, 64, around)).strip('"')
        shown = f"{_quoted(name, 64 + 2)}: "
        if _is_secret(name, item) or (named and name.lower() in _VALUES):
            shown += _masked(item)
        elif type(item) is str and values.is_key(name, item):
            shown += f'"{MASK}"'
        else:
            shown += _json(item, left - len(shown), around)
        # {"name": "password", "value": …}
        if name.lower() in _NAMES and isinstance(item, str):
            named = item if promises_secret(item) else ""
        if len(shown) > left:
            parts.append(f"{_LEFT_OUT}: {_LEFT_OUT}")
            break
        parts.append(shown)
        left -= len(shown) + 2
    return "{" + ", ".join(parts) + "}"


def _array(items: Iterable[object], room: int, around: tuple[int, ...]) -> str:
    parts: list[str] = []
    left = room - 2 - len(f", {_LEFT_OUT}")
    is_next = False
    for item in items:
        shown = _masked(item) if is_next else _json(item, left, around)
        # ("password", …), ["--password", …], ["-n", "node.session.auth.password", "-v", …]
        if type(item) is str:
            is_flag = is_next and item.startswith("-")
            shown = _json(item, left, around) if is_flag else shown
            is_next = is_flag or (
                not is_next and bool(_OPTION.fullmatch(item)) and promises_secret(item)
            )
        else:
            is_next = False
        if len(shown) > left:
            parts.append(_LEFT_OUT)
            break
        parts.append(shown)
        left -= len(shown) + 2
    return "[" + ", ".join(parts) + "]"


_NAMES: Final = frozenset({"name", "key", "field", "attribute"})
_VALUES: Final = frozenset({"value", "val", "data", "content"})


def _copied(original: Any, depth: int) -> object:
    kind = type(original)
    if depth >= _DEEPEST:
        return original
    if issubclass(kind, dict):
        return {
            name: _mask_of(item)
            if isinstance(name, str) and _is_secret(str.__str__(name), item)
            else _copied(item, depth + 1)
            for name, item in itertools.islice(dict.items(original), _MOST_ITEMS)
        }
    if kind not in (list, tuple):
        return original
    return kind(_copied(item, depth + 1) for item in itertools.islice(original, _MOST_ITEMS))


def _mask_of(item: object) -> object:
    """``***``, unless the value is None, a boolean or empty."""
    return item if item is None or type(item) is bool or item == "" else MASK


def _is_secret(name: str, item: object) -> bool:
    """True if ``item`` is masked as a whole because of its ``name`` in a structure."""
    if not _keeps_all(name[-names.LIMIT :]):
        return False
    return not (names.says_about(name) and _is_plain(item))


def _is_plain(item: object) -> bool:
    """True for a number, and for a text that does not look like a secret."""
    return isinstance(item, (int, float)) or (isinstance(item, str) and not prose.is_secret(item))


@functools.lru_cache(maxsize=1024)
def _keeps_all(name: str) -> bool:
    return promises_secret(name) or _SUBTREE.search(name) is not None


def _masked(item: object) -> str:
    """The same as JSON."""
    if item is None or type(item) is bool:
        return json.dumps(item)
    return '""' if type(item) is str and not item else f'"{MASK}"'


def _quoted(item: object, room: int) -> str:
    shown = json.dumps(text(item, max(min(room - 2, _STRING_LIMIT), 1)), ensure_ascii=False)
    return shown if len(shown) <= room else _LEFT_OUT
