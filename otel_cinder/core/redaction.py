"""Any value -> a bounded attribute with no secret in it."""

from __future__ import annotations

import re
from typing import Final

MESSAGE_LIMIT: Final = 512
"""Characters of an exception's message that are kept."""

STACKTRACE_LIMIT: Final = 4096
"""Characters of a stack trace that are kept, from its end, where the failure is."""

_MASK: Final = "***"

# A name that promises a secret, then its value: password=x, "auth_token": "x", --os-password x.
# Every repetition is bounded: a hostile message must not cost more than its length.
_NAMED: Final = re.compile(
    r"""(?ix)
    ( (?: pass(?:word|wd|phrase)? | secret | token | credential | authorization | cookie | chap
        | hmac | (?:api|access|private|encryption|auth|host)[_-]?key )
        [\w.-]{0,40} ["']? )
    ( \s{0,8} [=:] \s{0,8} (?: [ub](?=["']) )? )
    # A quote that is left open, because the text was cut, hides everything behind it.
    ( " [^"]* (?: " | $ ) | ' [^']* (?: ' | $ ) | (?:bearer|basic|digest)\s{1,8} \S+
      | [^\s,;)}\]]+ )
    """
)
# The same on a command line: --os-password x.
_OPTION: Final = re.compile(r"(?i)(--[\w-]{0,40}?(?:pass|secret|token|key)[\w-]{0,40}\s{1,8})\S+")
_URL_USER: Final = re.compile(r"(://)[^/\s@]+@")


def text(value: object, limit: int = MESSAGE_LIMIT) -> str:
    """``value`` as text, secrets masked, at most ``limit`` characters. Never raises."""
    try:
        # Cut before matching as well, so that a huge message costs no more than a long one.
        found = str(value)[: 4 * limit]
    except Exception:  # an exception's __str__ is the host's code and may raise anything
        return f"<unprintable {type(value).__name__}>"
    found = _NAMED.sub(rf"\1\2{_MASK}", found)
    found = _OPTION.sub(rf"\1{_MASK}", found)
    found = _URL_USER.sub(rf"\1{_MASK}@", found)
    return found if len(found) <= limit else found[: limit - 1] + "…"


def tail(value: str, limit: int = STACKTRACE_LIMIT) -> str:
    """The last ``limit`` characters of a stack trace."""
    return value if len(value) <= limit else "…" + value[1 - limit :]
