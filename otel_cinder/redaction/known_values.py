"""Secrets that are known word for word: the configuration's, and a request's own token.

They are found where nothing else gives them away: ``login failed for admin/S3cr3t!``.

No locks, which a fork could leave locked: what is shared is replaced as a whole, and whoever comes
second builds it anew.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote, quote_plus

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from otel_cinder.redaction.places import MASK

_SHORTEST: Final = 6
_LONGEST: Final = 160
"""Characters of a known value; a longer one, such as a private key, is known by its pieces."""
_LONGEST_FORM: Final = 12 * _LONGEST
"""Characters of a known value in any form: at worst ``%F0%9F%94%91`` for each of its own."""
_LONGEST_SECRET: Final = 8192
"""Characters of a secret that are known; what a caller sends may be of any length."""
_LONGEST_SPELT: Final = 1024
"""Characters of a request's secret that are known in every form; the rest is as it was sent."""
_MOST: Final = 256
"""Values that are known at once; the cost of a text grows with them."""

_WORDS: Final = frozenset(
    {
        "administrator",
        "anonymous",
        "available",
        "backends",
        "certificate",
        "changeme",
        "cinder-volume",
        "connection",
        "controller",
        "database",
        "default",
        "defaults",
        "disabled",
        "hypervisor",
        "internal",
        "keystone",
        "localhost",
        "metadata",
        "openstack",
        "password",
        "passwords",
        "project",
        "provider",
        "rabbitmq",
        "required",
        "scheduler",
        "secret",
        "service",
        "services",
        "snapshot",
        "snapshots",
        "storage",
        "username",
        "volumes",
    }
)
"""Bad passwords that can't be masked, because harmless texts are full of them."""

_LONGEST_WORD: Final = max(map(len, _WORDS))

_TOKEN: Final = re.compile(r"(?a)[\w.~=-]+")
"""A value that is written the same everywhere, except that a URL encodes its "="."""
_WORD: Final = re.compile(r"[\w-]{1,40}")
"""A value that may be a part of a longer word by chance. No piece of a long secret is as short."""

_IN_CONTEXT: Final = otel_context.create_key("otel-cinder-known-values")

_of_process: dict[str, None] = {}
_built: tuple[int, re.Pattern[str] | None, re.Pattern[str] | None] = (0, None, None)
"""Number of known values, and two patterns made of them: of all forms, and of their beginnings."""

_BEGIN: Final = 5
"""A value that was cut off is recognized by so many characters."""


def add_known_values(values: Iterable[object]) -> None:
    """Mask these secrets in every text of this process, and of its forks, from now on.

    A secret is left out if it is too short to differ from a harmless word. No more than 256 are
    known.
    """
    global _built
    for value in values:
        for piece in _pieces(value):
            if len(_of_process) < _MOST:
                _of_process[piece] = None
    # Another thread may have added more meanwhile, and have built its patterns first.
    while _built[0] != len(_of_process):
        known = list(_of_process)
        begins = "|".join(sorted({re.escape(secret[:_BEGIN]) for secret in known}))
        _built = (len(known), re.compile(_alternation(known)), re.compile(rf"(?<!\w)(?:{begins})"))


def clear_known_values() -> None:
    """Mask none of these secrets any more."""
    global _built
    _of_process.clear()
    _built = (0, None, None)


def with_known_values(context: Context, *secrets: object) -> Context:
    """``context`` in which every text is masked for these secrets, such as a request's token.

    They go wherever the trace goes, to other greenthreads and threads too, and nowhere else. A
    secret is left out if it is None, or too short to differ from a harmless word.
    """
    forms: dict[str, None] = {}
    for secret in secrets:
        left = _LONGEST_SPELT
        for piece in _pieces(secret):
            if _TOKEN.fullmatch(piece):
                forms[piece] = None
                if "=" in piece:
                    forms[piece.replace("=", "%3D")] = None
            else:
                forms.update(dict.fromkeys(_spellings(piece) if left > 0 else (piece,)))
                left -= len(piece)
    if not forms:
        return context
    already: Any = context.get(_IN_CONTEXT, ())
    return otel_context.set_value(_IN_CONTEXT, (*already, *forms), context)


def is_known(text: str) -> bool:
    """True if ``text`` itself is a known secret, of the process or of the current context."""
    return text in _of_process or text in _of_context()


def mask(text: str, cut: int) -> str:
    """The first ``cut`` characters of ``text``, or fewer, with known secrets masked."""
    _, pattern, begins = _built
    is_cut = len(text) > cut + _LONGEST_FORM
    text = text[: cut + _LONGEST_FORM]
    for secret in _of_context():
        if secret in text:
            text = text.replace(secret, MASK)
    if pattern is not None:
        text = pattern.sub(MASK, text)
    if is_cut:  # the last secret may have been cut in two, and is not recognized then
        return text[:-_LONGEST_FORM][:cut]
    if begins is not None:
        text = _without_beginning(text, begins)
    return text[:cut]


def _of_context() -> tuple[str, ...]:
    """The known secrets of the current context."""
    known: Any = otel_context.get_current().get(_IN_CONTEXT, ())
    return known  # type: ignore[no-any-return]


def _without_beginning(text: str, begins: re.Pattern[str]) -> str:
    """``text`` without a secret that was cut off at its end, if half of it or more is left."""
    end = len(text.rstrip(" .…'\")>]"))
    for match in begins.finditer(text, max(0, end - _LONGEST), end):
        begun = text[match.start() : end]
        for secret in _of_process:
            if secret.startswith(begun) and len(begun) * 2 >= len(secret) and begun not in _WORDS:
                return text[: match.start()] + MASK + text[end:]
    return text


def can_be_known(secret: str) -> bool:
    """True if ``secret`` differs from harmless words, so that it may be masked everywhere."""
    if len(secret) < _SHORTEST or not any(map(str.isalnum, secret)):
        return False
    if len(secret) <= _LONGEST_WORD and secret.lower() in _WORDS:
        return False
    return not secret.isalpha() or len(secret) >= 8


def _pieces(value: object) -> list[str]:
    """``value`` in pieces of a bounded length; none if it looks like a harmless word."""
    if not isinstance(value, str):
        return []
    secret = value[:_LONGEST_SECRET].strip()
    if not can_be_known(secret):
        return []
    count = -(-len(secret) // _LONGEST)
    size = -(-len(secret) // count)
    return [secret[begin : begin + size] for begin in range(0, len(secret), size)]


def _spellings(secret: str) -> set[str]:
    """``secret`` as URLs, JSON, XML, shells and Python's reprs spell it. Never raises.

    Lone surrogates can't be encoded: a file has them where its bytes are not UTF-8.
    """
    if secret.isalnum() and secret.isascii():
        return {secret}
    return {
        secret,
        quote(secret, safe="", errors="replace"),
        quote(secret, errors="replace"),
        quote_plus(secret, errors="replace"),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        html.escape(secret),
        secret.replace("'", "'\"'\"'"),
        secret.replace("\\", "\\\\").replace("'", "\\'"),
    }


def _encodings(secret: str) -> list[str]:
    """``secret`` in base64, for each of the three positions that it may begin at."""
    encodings = []
    for before in range(3):
        data = bytes(before) + secret.encode("utf-8", "replace")
        encoded = base64.b64encode(data).decode()
        # Without the characters that depend on the neighbours as well.
        encodings.append(encoded[(0, 2, 3)[before] : len(data) // 3 * 4])
    return [encoding for encoding in encodings if len(encoding) >= _SHORTEST]


def _alternation(known: list[str]) -> str:
    """A pattern of all forms, in two steps so that it is left soon: ``a(?:bc|d)|e(?:f)``."""
    forms: dict[str, dict[str, str]] = {}
    for secret in known:
        for form in [*_encodings(secret), *_spellings(secret)]:
            is_word = form == secret and _WORD.fullmatch(secret)
            forms.setdefault(form[:1], {})[form[1:]] = _alone(form) if is_word else ""
    return "|".join(
        f"{re.escape(first)}(?:{'|'.join(re.escape(end) + rest[end] for end in _by_length(rest))})"
        for first, rest in forms.items()
    )


def _by_length(forms: Iterable[str]) -> list[str]:
    return sorted(forms, key=len, reverse=True)


def _alone(word: str) -> str:
    r"""A condition that ``word`` is not a part of another. The n of ``\n`` before it is not one."""
    escaped = re.escape(word)
    return rf"(?!\w)(?:(?<!\w{escaped})|(?<=\\[abfnrtv]{escaped}))"
