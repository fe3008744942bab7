"""Finds the value behind a name: its beginning and its end."""

from __future__ import annotations

import re
from typing import Final

from otel_cinder.redaction.names import may_promise

# What follows a name, quoted or not, before its value: name=, "name": , ('name', , name -v ,
# name | , name 'value'; and, of an --option, a blank.
_BEHIND: Final = r"""(?x)
    (?: %5D | %22 | %27 | \] | &\#?\w{{2,4}}; )? (?P<quote> \\{{0,7}} ["'] )?
    (?: \s{{0,40}} (?: =&gt; | [=~-]> | -&gt; | := | [!<>]?={{1,3}} | :{{1,2}} | %3[AaDd] ) (?P<blank> \s{{0,40}} )
        (?: [ubrf]{{1,2}} (?= \\{{0,7}} ["']) )?
      | (?(quote) (?P<pair> \s{{0,4}} , ) \s{{0,4}}
          (?: \\{{0,7}} ["'] --? [A-Za-z]+ \\{{0,7}} ["'] \s{{0,4}} , \s{{0,4}} )?
          (?: [ubr] )? (?= \\{{0,7}} ["']) | (?!) )
      | \s{{1,4}} --? [A-Za-z]+ [\s=]{{1,4}}
      | \s{{1,4}} (?i: val (?: ue )? ) \s{{0,4}} = \s{{0,4}}
      | {option}
      | \s{{0,40}} \| \s{{1,4}}
      | \s{{0,4}} , \s{{0,4}} [bu]? (?= ["'])
      | (?: \s{{1,4}} (?: is | was ) )? \s{{1,4}} (?= \\{{0,7}} ["']) )
    """
AFTER: Final = re.compile(_BEHIND.format(option="(?!)"))
"""The text between a name and its value. Groups: ``quote`` that closes the name, ``blank`` behind a
``:`` or ``=``, ``pair`` for a comma."""
AFTER_OPTION: Final = re.compile(_BEHIND.format(option=r"\s{1,4} (?! -)"))
"""The same behind ``--name``."""

# A value, to its closing quote; a quote left open, because the text was cut, hides the rest.
_VALUE: Final = re.compile(
    r"""(?xs)
    (?: (?P<deep> \\{1,7} ["'] ) .*? (?: (?<!\\) (?P=deep) | $ )
      | " (?: [^"\\] | \\. )* (?: " | \\? $ ) | ' (?: [^'\\] | \\. )* (?: ' | \\? $ )
      )+  # several: a shell's way to say an apostrophe
      # and more: the quotes belong to the secret
      (?: [^\s,;:)}\]>'"\\] \S*? (?= \\{0,7} ["']? [,;)}\]>]{0,32} (?: \s | $ ) ) )?
    | ` [^`]* (?: ` | $ )
    | \\{0,7} &(?:quot|apos|\#34|\#39|\#x27); .*? (?: \\{0,7} &(?:quot|apos|\#34|\#39|\#x27); | $ )
    # YAML's lines, in a text that is quoted too
    | (?: !\S{1,32} [ ] )? [|>] [-+\d]{0,2} [ \t]* (?: \n | \\{1,7}n )
      (?: [ \t]+ (?: (?! \n | \\{1,7}n ) . )* (?: \n | \\{1,7}n | $ ) )+
    | (?i: bearer | basic | negotiate | digest ) \s{1,4} [^\s,<]+
    | (?i: chap ) \s{1,4} \S+ (?: \s{1,4} \S+ )?
    # To the next blank, without the punctuation of the text around it.
    | \S+? (?= \\{0,7} ["']? [,;)}\]>]{0,32} (?: \s | $ ) )
    """
)
_CALL: Final = re.compile(r"[A-Za-z_\[][\w.\[\]]{0,64}(?=[({])")
# A header's value of two words: a scheme, of which there are as many as vendors, and what it takes.
_SCHEME: Final = re.compile(
    r"""[\w-]{1,32}[ \t]{1,4}(?![A-Za-z_-]{1,16}=(?:\\{0,7}["']|&|[^=\s]))(?=[\w+/])[^\s,<'"\\&]+"""
)
# What a header's value goes on with: Cookie: a=b; c=d, Digest username="a", response="b".
_PARAMETERS: Final = re.compile(
    r"""(?:[;,]\s{0,4}[\w.-]{1,64}=(?:\\{0,7}(?:"[^"]*"|&quot;[^&]*&quot;)|[^\s,;'"]*))*"""
)
# The same of pairs: Digest username="a", response="b".
_PAIRED: Final = re.compile(
    r"""[\w-]{1,32}[ \t]{1,4}[\w-]{1,32}=(?:\\{0,7}(?:"[^"]*"|&quot;[^&]*&quot;)|[^\s,;'"]+)"""
)
_HEADER: Final = re.compile(r"(?i)authorization|cookie")
_STRUCTURE: Final = re.compile(
    r"""(?s)"(?:[^"\\]|\\.)*(?:"|\\?$)|'(?:[^'\\]|\\.)*(?:'|\\?$)|[\[\](){}]"""
)
_REST: Final = re.compile(r"[^\s,;:)}\]>'\"\\]\S*")

# What says that there is no secret, that it has been masked already, or that it is yet to be put in.
_NOTHING: Final = re.compile(
    r"""(?xi) none | null | nil | true | false | yes | no | n/a | unset | empty | undefined | \** | \.{3} | …
    | [<\[(]{0,2} (?: redacted | hidden | masked | sanitized | omitted | removed | snip ) [>\])]{0,2}
    | %\(\w{1,64}\)[sr] | %[sr] | \{\d{0,2}\} | \{\w{0,40}(?:pass|pwd|secret|token|key)\w{0,40}\} | \$\{\w{1,64}\}
    """
)

KEY: Final = re.compile(
    r"""(?P<quote>\\{0,7}["'])?(?P<secret>[A-Za-z0-9+/_-]{8,}={0,2})"""
    r"""(?(quote)(?:(?P=quote)|$)|(?![\w+/=@%-]|[.:]\w))"""
)
"""A word that may be a key. No match contains the beginning of another, so each is read once."""
_MIXED: Final = re.compile(r"(?=\D*\d)(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9+/_=-]+")
_UUID: Final = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHORTEST: Final = 8
_SHORTEST_KEY: Final = 16
"""The same behind a mere ``key``, which rarely names a secret key."""


def is_nothing(value: str) -> bool:
    """True if ``value`` denotes that there is no secret, or that it is masked already."""
    return _NOTHING.fullmatch(value) is not None


def is_key(name: str, value: str) -> bool:
    """True if ``value`` is a secret key: long, random, and called a key."""
    shortest = _SHORTEST_KEY if name.lower() in ("key", "keys") else _SHORTEST
    if len(value) < shortest or not may_promise(name):
        return False
    return _MIXED.fullmatch(value) is not None and _UUID.fullmatch(value) is None


def is_header(name: str) -> bool:
    """True if ``name`` is a header whose value has blanks in it."""
    return _HEADER.search(name) is not None


def end_of(text: str, begin: int, name: str) -> int:
    """The end of the value of ``name`` that begins at ``begin``: its quote, bracket or a blank."""
    call = _CALL.match(text, begin)
    opening = call.end() if call else begin
    if text[opening : opening + 1] in ("{", "[", "("):
        return _end_of_structure(text, opening)
    if is_header(name):
        value = (
            _SCHEME.match(text, begin)
            or ("authori" in name.lower() and _PAIRED.match(text, begin))
            or _VALUE.match(text, begin)
        )
        more = _PARAMETERS.match(text, value.end()) if value else None
        return more.end() if more else begin
    value = _VALUE.match(text, begin)
    return value.end() if value else begin


def _end_of_structure(text: str, begin: int) -> int:
    depth = 0
    for piece in _STRUCTURE.finditer(text, begin):
        depth += (piece[0] in ("{", "[", "(")) - (piece[0] in ("}", "]", ")"))
        if not depth:
            rest = _REST.match(text, piece.end())
            return rest.end() if rest else piece.end()
    return len(text)
