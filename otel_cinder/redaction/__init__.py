"""Any value -> a bounded attribute with no secret in it, as far as that can be told.

A secret is known by one of four signs:

- **Word for word**: what the configuration holds (`learn`), and a request's own token (`hiding`).
- **Its shape**: Fernet tokens, JWTs, Ceph's and DH-HMAC-CHAP's keys, private keys, random words.
- **Its place**: the user of a URL, its query, the path behind a login; what ``curl -u`` takes.
- **Its name**: ``password=``, ``"auth_token":``, ``<chapSecret>``, ``--os-password``, ``密码：``; and
  where nothing says where the value ends, the rest of the line.

That is a matter of odds. Who must be certain has no free text recorded at all (`leave_out_texts`):
then there are the names of things, classes, places and templates, and nothing that was said.

oslo.utils' ``mask_password`` is not asked: its names and forms are known here too (a test goes over
its own lists), and it knows nothing of the other signs, of headers or of structures.
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
from otel_cinder.redaction.known_values import can_learn, forget, hiding, learn
from otel_cinder.redaction.names import promises_secret
from otel_cinder.redaction.places import MASK

__all__ = [
    "can_learn",
    "command",
    "forget",
    "hiding",
    "http_method",
    "identifier",
    "keeps_secret",
    "learn",
    "leave_out_texts",
    "masked",
    "plain",
    "promises_secret",
    "stacktrace",
    "tail",
    "text",
    "texts_are_left_out",
    "unspoken",
    "value",
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

_IDENTIFIER: Final = re.compile(r"[\w.@#:/+{}<>~*,-]+")
_NOTHING_SAID: Final = ""
_FRAME: Final = re.compile(r'^ *File "[^"\n]{1,400}", line \d+, in [\w<>.]{1,200}', re.MULTILINE)

# Whose every part is somebody's own: a tenant's words, what a connection takes.
_SUBTREE: Final = re.compile(r"(?i)^auth$|metadata$|^connection_(?:data|properties)$|^image_meta$")
_OPTION: Final = re.compile(r"-{0,2}[\w.-]{1,64}")
_BLANK: Final = re.compile(r"\s")


_left_out: bool = False


def leave_out_texts(yes: bool) -> None:
    """Whether nothing that is said is recorded: `text`, `command` and `value` say nothing then."""
    global _left_out
    _left_out = yes


def texts_are_left_out() -> bool:
    """Whether no free text may be recorded: see `leave_out_texts`."""
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
    found = masked(value, limit)
    return found if _IDENTIFIER.fullmatch(found) else ""


def masked(value: object, limit: int = MESSAGE_LIMIT) -> str:
    """``value`` as text, secrets masked, whether texts are left out or not; for our own log lines."""
    if (
        type(value) is str
        and len(value) <= limit
        and _ID.fullmatch(value)
        and not known_values.knows(value)
    ):
        return value  # most of what is said of a request
    try:
        # Cut before matching as well, so that a huge message costs no more than a long one.
        found = _begin(str(value), min(4 * limit, limit + _MORE))
        if not _INERT.fullmatch(found):
            found = _mask_text(found, limit)
    except Exception:  # an exception's __str__ is the host's code and may raise anything
        return f"<unprintable {type(value).__name__}>"
    return found if len(found) <= limit else found[: limit - 1] + "…"


def _begin(said: str, room: int) -> str:
    """The begin of ``said``, in no more than so many characters, without the secrets that are known.

    Without the last word, if it was cut: who could tell what it was going to be?
    """
    found = plain(known_values.mask(said, room))
    if len(said) <= room:
        return found
    blank = max(found.rfind(" "), found.rfind("\n"), len(found) - _LONGEST_WORD)
    return found[: max(blank, 0)]


def _mask_text(found: str, limit: int) -> str:
    """``found`` without the secrets that something points at, encoded a few times over or not.

    No more than the first ``limit`` characters can be relied on, and a sign that there were more.
    """
    room = limit + 1
    found = shown = patterns.mask(found, room)
    for _ in range(_DEEPEST_ENCODING):
        before, shown = shown, patterns.decoded(shown)
        if shown == before:
            break
        masked = patterns.mask(known_values.mask(shown, len(shown)), room)
        if masked != shown:  # else it stays as it was said
            found = shown = masked
    return plain(found)


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
    """The words of a command, in which a blank does not look like a word's end; as many as matter."""
    left = 4 * limit
    for word in itertools.islice(words, limit):
        said = str(word)
        if left <= 0:
            yield "…"
            break
        if _BLANK.search(said, 0, 4 * limit):
            yield _BLANK.sub("\0", _mask_text(_begin(said, 4 * limit), limit))
        else:  # text() masks it as well as this could
            yield said
        left -= len(said) + 1


def value(found: object, limit: int = VALUE_LIMIT) -> str:
    """``found`` as JSON of at most ``limit`` characters, secrets masked by name and by text.

    Nothing of the host's is called to show itself: of what is no plain value, structure, dataclass
    or exception there is the class, and the id where it has one at hand. Never raises.
    Where free texts are left out there is nothing but a sign of that.
    """
    return _LEFT_OUT if _left_out else _json(found, limit, ())


def without_secrets(found: object) -> object:
    """``found``, secrets masked by name if it is a structure, to be formatted in its place.

    Strings in it are as they were: who formats them masks the whole. Never raises.
    """
    try:
        return _copied(found, 0)
    except Exception:  # a class may have made any of this raise
        return _LEFT_OUT


def unspoken(found: object) -> object:
    """What stands in a text for ``found``, which its text calls a secret, to be formatted there.

    The mask, but for what is none: an error, a number, an id, words in which somebody talks.
    """
    if found is None or isinstance(found, (bool, int, float, BaseException)):
        return found
    said = found if isinstance(found, str) else ""
    return MASK if found != "" and prose.tells(said) else found


def keeps_secret(name: str, value: object) -> bool:
    """Whether ``value`` is a secret because of its name. ``password_length = 8`` is none."""
    if not promises_secret(name):
        return False
    return not (names.says_about(name) and _is_plain(value))


def stacktrace(frames: str, limit: int = STACKTRACE_LIMIT) -> str:
    """The end of a stack trace without its exception's message, secrets masked.

    Where free texts are left out, only files, lines and functions.
    """
    if not _left_out:
        return text(tail(frames, limit), limit)
    return tail("".join(f"{found}\n" for found in _FRAME.findall(frames)), limit)


def http_method(environ: Mapping[str, Any]) -> str:
    """The method in a span's name: one that HTTP knows, or ``HTTP``, whatever a caller makes up."""
    method = sanitize_method(str(environ.get("REQUEST_METHOD", "")).strip())
    return method if method and method != "_OTHER" else "HTTP"


def plain(value: str) -> str:
    """``value`` without lone surrogates (from a request's JSON, or a command's output).

    They can't be exported, and would take the whole batch of spans with them.
    """
    return value.encode("utf-8", "replace").decode()


def tail(value: str, limit: int = STACKTRACE_LIMIT) -> str:
    """The last ``limit`` characters of a stack trace, from the begin of a line on.

    What comes before it in the line is what would tell whether there is a secret in it.
    """
    if len(value) <= limit:
        return value
    found = value[1 - limit :]
    line = found.find("\n", 0, _LONGEST_WORD)
    return "…" + (found[line:] if line >= 0 else found)


_LEFT_OUT: Final = '"…"'
"""What stands for whatever there was no room for."""

# What shows itself in a bounded form of its own, by Python's own code.
_SCALARS: Final[Mapping[type, Callable[[Any], object]]] = {
    uuid.UUID: str,
    dt.datetime: dt.datetime.isoformat,
    dt.date: dt.date.isoformat,
    dt.timedelta: str,
    decimal.Decimal: str,
}


def _json(found: object, room: int, around: tuple[int, ...]) -> str:
    """``found`` in at most ``room`` characters; `_LEFT_OUT` where that is too few."""
    try:
        kind = type(found)
        if found is None or kind is bool:
            said = json.dumps(found)
        elif issubclass(kind, enum.Enum):
            said = _quoted(f"{kind.__name__}.{found._name_}", room)  # type: ignore[attr-defined]
        elif issubclass(kind, int):
            said = int.__repr__(found)
        elif issubclass(kind, float):
            said = float.__repr__(found)
            said = said if said[-1].isdigit() else _quoted(said, room)  # nan, inf
        elif issubclass(kind, str):
            said = _quoted(str.__str__(found), room)
        elif issubclass(kind, (bytes, bytearray)):
            said = f'"<{len(found)} bytes>"'  # type: ignore[arg-type]
        elif kind in _SCALARS:
            said = _quoted(_SCALARS[kind](found), room)
        elif issubclass(kind, PurePath):
            said = _quoted(PurePath.__str__(found), room)
        elif issubclass(kind, BaseException):
            said = _quoted(f"{kind.__name__}: {text(found, room)}", room)
        elif id(found) in around or len(around) >= _DEEPEST:
            said = _LEFT_OUT
        else:
            said = _structure(found, kind, room, (*around, id(found)))
    except Exception:  # a class may have made any of this raise
        said = '"<unprintable>"'
    return said if len(said) <= room else _LEFT_OUT


def _structure(found: Any, kind: type, room: int, around: tuple[int, ...]) -> str:
    # The base classes' own methods: a subclass may load something from a database on the way.
    if issubclass(kind, dict):
        return _object(dict.items(found), room, around)
    if dataclasses.is_dataclass(kind) and not isinstance(found, type):
        fields = (field.name for field in dataclasses.fields(kind))
        return _object(((name, _field(found, name)) for name in fields), room, around)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _object(zip(kind._fields, tuple.__iter__(found), strict=False), room, around)
    for base in (list, tuple, set, frozenset, deque):
        if issubclass(kind, base):
            return _array(base.__iter__(found), room, around)
    identity = ""
    try:
        attributes = object.__getattribute__(found, "__dict__")
        identity = attributes.get("_obj_id") or attributes.get("id")
    except Exception:  # no attributes, or no ordinary ones
        identity = ""
    if identity and type(identity) in (str, int):
        return _quoted(f"<{kind.__name__} {text(identity, 64)}>", room)
    return f'"<{kind.__name__}>"'


def _field(found: object, name: str) -> object:
    try:
        return object.__getattribute__(found, name)
    except AttributeError:
        return None


def _object(items: Iterable[tuple[object, object]], room: int, around: tuple[int, ...]) -> str:
    parts: list[str] = []
    left = room - 2 - len(f", {_LEFT_OUT}: {_LEFT_OUT}")
    named = ""
    for key, item in items:
        name = str.__str__(key) if isinstance(key, str) else str(_json(key, 64, around)).strip('"')
        said = f"{_quoted(name, 64 + 2)}: "
        if _is_secret(name, item) or (named and name.lower() in _VALUES):
            said += _masked(item)
        elif type(item) is str and values.is_key(name, item):
            said += f'"{MASK}"'
        else:
            said += _json(item, left - len(said), around)
        # {"name": "password", "value": …}
        if name.lower() in _NAMES and isinstance(item, str):
            named = item if promises_secret(item) else ""
        if len(said) > left:
            parts.append(f"{_LEFT_OUT}: {_LEFT_OUT}")
            break
        parts.append(said)
        left -= len(said) + 2
    return "{" + ", ".join(parts) + "}"


def _array(items: Iterable[object], room: int, around: tuple[int, ...]) -> str:
    parts: list[str] = []
    left = room - 2 - len(f", {_LEFT_OUT}")
    is_next = False
    for item in items:
        said = _masked(item) if is_next else _json(item, left, around)
        # ("password", …), ["--password", …], ["-n", "node.session.auth.password", "-v", …]
        if type(item) is str:
            is_flag = is_next and item.startswith("-")
            said = _json(item, left, around) if is_flag else said
            is_next = is_flag or (
                not is_next and bool(_OPTION.fullmatch(item)) and promises_secret(item)
            )
        else:
            is_next = False
        if len(said) > left:
            parts.append(_LEFT_OUT)
            break
        parts.append(said)
        left -= len(said) + 2
    return "[" + ", ".join(parts) + "]"


_NAMES: Final = frozenset({"name", "key", "field", "attribute"})
_VALUES: Final = frozenset({"value", "val", "data", "content"})


def _copied(found: Any, depth: int) -> object:
    kind = type(found)
    if depth >= _DEEPEST:
        return found
    if issubclass(kind, dict):
        return {
            name: _hidden(item)
            if isinstance(name, str) and _is_secret(str.__str__(name), item)
            else _copied(item, depth + 1)
            for name, item in itertools.islice(dict.items(found), _MOST_ITEMS)
        }
    if kind not in (list, tuple):
        return found
    return kind(_copied(item, depth + 1) for item in itertools.islice(found, _MOST_ITEMS))


def _hidden(item: object) -> object:
    """The mask, but for what says that there is no secret."""
    return item if item is None or type(item) is bool or item == "" else MASK


def _is_secret(name: str, item: object) -> bool:
    """Whether all that a structure has under ``name`` is kept to itself."""
    if not _keeps_all(name[-names.LIMIT :]):
        return False
    return not (names.says_about(name) and _is_plain(item))


def _is_plain(item: object) -> bool:
    """Whether ``item`` is a number, or a text that does not look like a secret."""
    return isinstance(item, (int, float)) or (isinstance(item, str) and not prose.is_secret(item))


@functools.lru_cache(maxsize=1024)
def _keeps_all(name: str) -> bool:
    return promises_secret(name) or _SUBTREE.search(name) is not None


def _masked(item: object) -> str:
    """The mask, but for what says that there is no secret."""
    if item is None or type(item) is bool:
        return json.dumps(item)
    return '""' if type(item) is str and not item else f'"{MASK}"'


def _quoted(found: object, room: int) -> str:
    said = json.dumps(text(found, max(min(room - 2, _STRING_LIMIT), 1)), ensure_ascii=False)
    return said if len(said) <= room else _LEFT_OUT
