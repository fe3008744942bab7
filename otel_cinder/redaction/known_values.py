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
"""Characters of a literal; a longer one, a private key say, is known by its pieces."""
_LONGEST_FORM: Final = 12 * _LONGEST
"""Characters that one of them takes in any form: ``%F0%9F%94%91`` at worst for each."""
_LONGEST_SECRET: Final = 8192
"""Characters of a secret that are known; what a caller sends may be of any length."""
_LONGEST_SPELT: Final = 1024
"""Characters of a request's secret that are known in every form; the rest is as it was sent."""
_MOST: Final = 256
"""Literals that are known at once; the cost of a text grows with them."""

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
"""Bad passwords that stand in harmless texts all the time, so that they can't be masked there."""

_TOKEN: Final = re.compile(r"(?a)[\w.~=-]+")
"""What stands everywhere as it is, but for its "=" in a URL."""
_WORD: Final = re.compile(r"[\w-]{1,40}")
"""What may stand within a longer word by chance; no piece of a long secret is as short."""

_HIDDEN: Final = otel_context.create_key("otel-cinder-hidden")

_known: dict[str, None] = {}
_built: tuple[int, re.Pattern[str] | None, re.Pattern[str] | None] = (0, None, None)
"""How many literals were known when the patterns were made: of all their forms, of their begins."""

_BEGIN: Final = 5
"""Characters of a literal by which one is noticed that somebody has cut."""


def learn(values: Iterable[object]) -> None:
    """Mask these secrets in every text of this process, and of what it forks, from now on.

    What is too short to be told from a harmless word is left out; what would be more than 256
    secrets in all as well.
    """
    global _built
    for value in values:
        for piece in _pieces(value):
            if len(_known) < _MOST:
                _known[piece] = None
    # Another thread may have learned meanwhile, and have built before us with more.
    while _built[0] != len(_known):
        known = list(_known)
        begins = "|".join(sorted({re.escape(secret[:_BEGIN]) for secret in known}))
        _built = (len(known), re.compile(_alternation(known)), re.compile(rf"(?<!\w)(?:{begins})"))


def forget() -> None:
    """Know no secret any more."""
    global _built
    _known.clear()
    _built = (0, None, None)


def hiding(context: Context, *secrets: object) -> Context:
    """``context`` in which these secrets, a request's token say, are masked in every text.

    They go wherever the trace goes, to other greenthreads and threads too, and nowhere else. What
    is None, or too short to be told from a harmless word, is left out.
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
    hidden: Any = otel_context.get_value(_HIDDEN, context) or ()
    return otel_context.set_value(_HIDDEN, (*hidden, *forms), context)


def knows(found: str) -> bool:
    """Whether ``found`` itself is a secret that is known, here or in all of the process."""
    return found in _known or found in (otel_context.get_value(_HIDDEN) or ())  # type: ignore[operator]


def mask(found: str, cut: int) -> str:
    """The first ``cut`` characters of ``found``, or fewer, without the secrets that are known."""
    hidden: Any = otel_context.get_value(_HIDDEN)
    pattern = _built[1]
    if pattern is None and not hidden:
        return found[:cut]
    is_cut = len(found) > cut + _LONGEST_FORM
    found = found[: cut + _LONGEST_FORM]
    for secret in hidden or ():
        if secret in found:
            found = found.replace(secret, MASK)
    if pattern is not None:
        found = pattern.sub(MASK, found)
    if is_cut:  # the last one may have been cut in two, so that it wasn't found
        return found[:-_LONGEST_FORM][:cut]
    return _without_begun(found)[:cut]


def _without_begun(found: str) -> str:
    """``found`` without the secret that begins at its end, half of which, or more, is there.

    Whoever said it has cut it there.
    """
    begins = _built[2]
    if begins is None:
        return found
    end = len(found.rstrip(" .…'\")>]"))
    for match in begins.finditer(found, max(0, end - _LONGEST), end):
        begun = found[match.start() : end]
        for secret in _known:
            if secret.startswith(begun) and len(begun) * 2 >= len(secret) and begun not in _WORDS:
                return found[: match.start()] + MASK + found[end:]
    return found


def can_learn(secret: str) -> bool:
    """Whether ``secret`` can be told from a harmless word, so that it may be masked everywhere."""
    if len(secret) < _SHORTEST or secret.lower() in _WORDS or not any(map(str.isalnum, secret)):
        return False
    return not secret.isalpha() or len(secret) >= 8


def _pieces(value: object) -> list[str]:
    """``value`` as literals of a bounded length; none if it can't be told from a harmless word."""
    if not isinstance(value, str):
        return []
    found = value[:_LONGEST_SECRET].strip()
    if not can_learn(found):
        return []
    count = -(-len(found) // _LONGEST)
    size = -(-len(found) // count)
    return [found[begin : begin + size] for begin in range(0, len(found), size)]


def _spellings(secret: str) -> set[str]:
    """``secret`` as it stands in URLs, JSON, XML, a shell's words and Python's reprs. Never raises.

    Lone surrogates, a byte of a file that is no UTF-8 say, are not to be encoded.
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
    """What base64 makes of ``secret``, wherever it stands in what is encoded."""
    found = []
    for before in range(3):
        data = bytes(before) + secret.encode("utf-8", "replace")
        encoded = base64.b64encode(data).decode()
        # Without the characters that say something of the neighbours as well.
        found.append(encoded[(0, 2, 3)[before] : len(data) // 3 * 4])
    return [one for one in found if len(one) >= _SHORTEST]


def _alternation(known: list[str]) -> str:
    """A pattern of all forms, in two steps so that it is left soon: ``a(?:bc|d)|e(?:f)``."""
    forms: dict[str, dict[str, str]] = {}
    for secret in known:
        for form in [*_encodings(secret), *_spellings(secret)]:
            is_word = form == secret and _WORD.fullmatch(secret)
            forms.setdefault(form[:1], {})[form[1:]] = _alone(form) if is_word else ""
    return "|".join(
        f"{re.escape(first)}(?:{'|'.join(re.escape(one) + rest[one] for one in _by_length(rest))})"
        for first, rest in forms.items()
    )


def _by_length(forms: Iterable[str]) -> list[str]:
    return sorted(forms, key=len, reverse=True)


def _alone(word: str) -> str:
    r"""What makes sure that a word is not a part of another: the n of ``\n`` is none before it."""
    said = re.escape(word)
    return rf"(?!\w)(?:(?<!\w{said})|(?<=\\[abfnrtv]{said}))"
