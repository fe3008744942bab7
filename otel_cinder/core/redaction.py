"""Any value -> a bounded attribute with no secret in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.util.http import sanitize_method

MESSAGE_LIMIT: Final = 512
"""Characters of an exception's message that are kept."""

STACKTRACE_LIMIT: Final = 4096
"""Characters of a stack trace that are kept, from its end, where the failure is."""

_MASK: Final = "***"

# What promises a secret, as a part of a name: auth_token, node.session.auth.password, X-Auth-Key.
_SECRET: Final = re.compile(
    r"""(?x)
    (?i: pass(?:word|wd|phrase|code) | pwd | secret | token | credential | authorization
      | provider_auth | cookie | chap | hmac | keyring | signature
      | (?:api|access|private|encryption|auth|host)[._-]?key )
    | (?i: (?: ^ | [._-] ) (?: pass | sig ) $ ) | Pass $
    """
)
# A name, quoted or not, and what leads to its value: name=, "name": , ('name', , name -v , --name .
# Each word is looked at once, from its beginning, so that the cost is that of the text's length.
_NAME: Final = re.compile(
    r"""(?x)
    (?<! [\w.-] ) (?P<option> -- )? (?P<name> \w [\w.-]* ) (?P<quote> \\?["'] )?
    (?: \s{0,4} (?: => | [=:] ) \s{0,4} (?: [ubr] (?=["']) )?
      | (?(quote) \s{0,4} , \s{0,4} (?= \\? ["']) | (?!) )
      | \s{1,4} (?: -v | --value ) [\s=]{1,4}
      | (?(option) \s{1,4} (?! -) | (?!) ) )
    """
)
# A value, to its closing quote; a quote left open, because the text was cut, hides the rest.
_VALUE: Final = re.compile(
    r"""(?xs)
    \\" .*? (?: \\" | $ ) | \\' .*? (?: \\' | $ )
    | " (?: [^"\\] | \\. )* (?: " | $ ) | ' (?: [^'\\] | \\. )* (?: ' | $ )
    | (?i: bearer | basic | digest | chap ) \s{1,4} \S+
    # To the next blank, but for the punctuation of what it stands in.
    | \S+? (?= [,;)}\]>]* (?: \s | $ ) )
    """
)
_INERT: Final = re.compile(r"[\w./@-]*")
"""Ids, names, paths: there is nothing in them that could lead to a value."""
_ELEMENT: Final = re.compile(r"<([\w.:-]+)(?:\s[^<>]*)?>([^<]+)")
_SSHPASS: Final = re.compile(r"(sshpass\s{1,4}-p\s{0,4})\S+")
_URL_USER: Final = re.compile(r"(://)[^/\s]+@")


def text(value: object, limit: int = MESSAGE_LIMIT) -> str:
    """``value`` as text, secrets masked, at most ``limit`` characters. Never raises."""
    try:
        # Cut before matching as well, so that a huge message costs no more than a long one.
        found = plain(str(value)[: 4 * limit])
    except Exception:  # an exception's __str__ is the host's code and may raise anything
        return f"<unprintable {type(value).__name__}>"
    if _INERT.fullmatch(found):
        return found if len(found) <= limit else found[: limit - 1] + "…"
    found = _URL_USER.sub(rf"\1{_MASK}@", found)
    found = _SSHPASS.sub(rf"\1{_MASK}", found)
    found = _ELEMENT.sub(_mask_element, found)
    found = _mask_values(found)
    return found if len(found) <= limit else found[: limit - 1] + "…"


def http_method(environ: Mapping[str, Any]) -> str:
    """The method in a span's name: one that HTTP knows, or ``HTTP``, whatever a caller makes up."""
    method = sanitize_method(str(environ.get("REQUEST_METHOD", "")).strip())
    return method if method and method != "_OTHER" else "HTTP"


def plain(value: str) -> str:
    """``value`` without lone surrogates (from a request's JSON, or a command's output).

    They can't be exported, and would take the whole batch of spans with them.
    """
    return value.encode("utf-8", "replace").decode()


def _mask_element(found: re.Match[str]) -> str:
    if not _SECRET.search(found[1]):
        return found[0]
    return found[0].removesuffix(found[2]) + _MASK


def _mask_values(found: str) -> str:
    parts = []
    done = 0
    for match in _NAME.finditer(found):
        if match.start() < done or not _SECRET.search(match["name"]):
            continue
        value = _VALUE.match(found, match.end())
        if value is not None:
            parts += [found[done : match.end()], _MASK]
            done = value.end()
    return "".join([*parts, found[done:]])


def tail(value: str, limit: int = STACKTRACE_LIMIT) -> str:
    """The last ``limit`` characters of a stack trace."""
    return value if len(value) <= limit else "…" + value[1 - limit :]
