"""Secrets that are known by a sign in a text: their shape, their place or their name.

Everything that is called here runs on eventlet's hub, where all requests wait for it: no pattern may
take more than its text's length, whatever the text is (a test holds it), and a text without any sign
costs least.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

from otel_cinder.redaction import hints, mentions, names, places, prose, values
from otel_cinder.redaction.names import lowered, promises_secret
from otel_cinder.redaction.places import MASK

# A name that is not right before its value: "name": "password", "value": "…".
_NAMED: Final = re.compile(
    r"""(?x) \b (?i: name | key | field | attribute ) \\{0,7} ["']? \s{0,4} [=:] \s{0,4} \\{0,7} ["']?
    (?P<name> [\w.-]+ (?: [ ] [\w.-]+ ){0,3}? ) \\{0,7} ["']? \s{0,4} ,? \s{0,4} \\{0,7} ["']?
    (?i: value | val | data | content ) \\{0,7} ["']? \s{0,4} [=:] \s{0,4} """
)
# A value that a request's schema has refused; the explanation repeats it.
_REFUSED: Final = re.compile(
    r"field/attribute\s(?P<name>[\w.-]{1,128})\.\s{1,4}Value:\s(?!None\.\sNone\s)"
)
_ELEMENT: Final = re.compile(
    r"""(?xs) (?: < | &lt; ) (?P<name> [\w.:-]+ ) (?P<attributes> (?: \s [^<>&]{0,200} )? )
    (?: > | &gt; ) (?P<value> <!\[CDATA\[ .*? (?: \]\]> | $ ) | (?: (?! &lt; ) [^<] )+ )"""
)
# An element whose beginning was cut off.
_END_OF_ELEMENT: Final = re.compile(r"^(?P<value>[^<>]{1,4096})(?=</(?P<name>[\w.:-]{1,64})>)")
_SHORTEST: Final = 3
_LONGEST: Final = 256
"""Characters of a secret that is looked for in the rest of its text."""

_WORD: Final = re.compile(r"[\w.-]{3,64}")

_ESCAPED: Final = re.compile(r"""\\(["'\\])""")
_CODED: Final = re.compile(
    r"(?:\\{1,8}x[0-9a-fA-F]{2}){2,}|\\{1,8}u[0-9a-fA-F]{4}|\\{1,8}x[2-7][0-9a-fA-F]"
)


def decoded(text: str) -> str:
    """``text`` with what was encoded in it as plain as it once was: entities, %20, ``\\u5bc6``."""
    if "&" in text:
        text = html.unescape(text)
    if "%" in text:
        text = unquote(text)
    if "\\" in text:
        text = _CODED.sub(_decoded_character, text)
        text = _ESCAPED.sub(r"\1", text)
    return text


def _decoded_character(match: re.Match[str]) -> str:
    code = match[0].replace("\\", "")
    if code[0] == "u":
        return chr(int(code[1:], 16))
    try:
        return bytes.fromhex(code.replace("x", "")).decode()
    except ValueError:
        return match[0]


def mask(text: str, room: int) -> str:
    """``text`` without the secrets that something in it points at, or its begin.

    Args:
        room: characters that will be shown of it: what comes behind may be left out.
    """
    text = places.mask_shapes(text)
    if "@" in text or "://" in text:
        text = places.mask_users(text)
    hinted = hints.hints_in(lowered(names.folded(text)))
    if hinted:
        text = _mask_hinted(text, hinted, room)
    if " -" in text or "'-" in text or '"-' in text:
        text = places.mask_options(text)
    return text


def _mask_hinted(text: str, hinted: list[re.Match[str]], room: int) -> str:
    kinds = {hint[0] for hint in hinted}
    whole = text
    lower = hinted[0].string
    if kinds & hints.OF_SHAPES:
        text = places.mask_known_shapes(text)
    if kinds & hints.OF_TOOLS:
        text = places.mask_commands(text)
    if "<" in text or "&lt;" in text:
        text = _END_OF_ELEMENT.sub(_mask_element, _ELEMENT.sub(_mask_element, text))
    if "val" in lower or "data" in lower or "content" in lower:
        text = _mask_refused(_mask_named(text))
    shadow = names.folded(text)
    if text is not whole:
        hinted = hints.hints_in(lowered(shadow))
    marks = [hint for hint in hinted if hint[0] in hints.OF_NAMES]
    secrets, end = mentions.secrets_in(shadow, marks, room)
    text = _cut_out(text[:end], secrets)
    return places.mask_logins(text) if "/" in text or "?" in text else text


def _cut_out(text: str, secrets: Iterable[tuple[int, int]]) -> str:
    """``text`` without these secrets, and without their repetitions."""
    parts = []
    again = []
    done = 0
    for begin, end in secrets:
        parts += [text[done:begin], MASK]
        again.append(text[begin:end].strip(prose.PUNCTUATION + "\\ "))
        done = end
    if not parts:
        return text
    left = "".join([*parts, text[done:]])
    for secret in again:
        if len(secret) < _LONGEST and prose.is_opaque(secret):
            left = _without_begun(left.replace(secret, MASK), secret)
    return left


def _without_begun(left: str, secret: str) -> str:
    """``left`` without the begin of ``secret`` at its end, where no more was read."""
    for size in range(min(len(secret) - 1, len(left)), _SHORTEST, -1):
        if left.endswith(secret[:size]):
            return left[:-size] + MASK
    return left


def _mask_element(match: re.Match[str]) -> str:
    value = match["value"]
    if values.is_nothing(value.strip()) or not _holds_secret(match, value.strip()):
        return match[0]
    return match[0].removesuffix(value) + MASK


def _holds_secret(element: re.Match[str], value: str) -> bool:
    """True if an element's name promises a secret, or a name among its attributes."""
    attributes = element.groupdict().get("attributes") or ""
    named = [element["name"], *_WORD.findall(attributes)]
    return any(promises_secret(name) or values.is_key(name, value) for name in named)


def _mask_named(text: str) -> str:
    secrets = []
    done = 0
    for match in _NAMED.finditer(text):
        if match.start() >= done and promises_secret(match["name"]):
            done = values.end_of(text, match.end(), match["name"])
            secrets.append((match.end(), done))
    return _cut_out(text, secrets)


def _mask_refused(text: str) -> str:
    for match in _REFUSED.finditer(text):
        if promises_secret(match["name"]):
            return text[: match.end()] + MASK
    return text
