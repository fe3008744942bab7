"""Secrets that are known by a sign in a text: their shape, their place or their name.

Everything here runs on eventlet's hub, where all requests wait for it: no pattern may take more than
its text's length, whatever the text is (a test holds it), and a text without any sign costs least.
"""

from __future__ import annotations

import functools
import html
import re
import string
from typing import Final
from urllib.parse import unquote

MASK: Final = "***"

NAME_LIMIT: Final = 256
"""Characters of a name that are looked at, from its end, which says what it is the name of."""

# What promises a secret, as a part of a name: auth_token, node.session.auth.password, X-Auth-Key.
_SECRET: Final = re.compile(
    r"""(?x)
    (?i: pass(?:word|wd|phrase|code) | pwd | pswd | secret | token | credential | authorization
      | cookie | chap(?!ter) | hmac | keyring | signature | admin_?pass | new_?pass
      | connection_info | provider_auth | user_?data | config_?drive | auth[._]user
      | hash_?suffix | clusterfsid | cryptokek | session_?id
      | (?: api | access | private | encrypt(?:ed|ion) | auth | host | shared | fernet | ssl | ssh
          | rndc | heartbeat | fixed | account | customer | ceph\w{0,32} ) [._-]? key )
    | (?i: (?: ^ | [._-] ) (?: pass | pw | sig | psk | otp ) $ ) | Pass $
    """
)
# Names that may or may not: the value has to look like a key then.
_KEY: Final = re.compile(
    r"(?i)(?<!routing_)(?<!binding_)(?<!public_)(?<!primary_)(?<!cache_)(?<!sort_)key\d*$"
)
_RANDOM: Final = re.compile(r"(?=\D*\d)(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9+/_=-]{16,}")
_LONG: Final = re.compile(
    r"""(?P<quote>\\{0,7}["'])?(?P<said>[A-Za-z0-9+/_-]{16,}={0,2})"""
    r"""(?(quote)(?:(?P=quote)|$)|(?![\w+/=@%-]|[.:]\w))"""
)
"""What may be such a value. Nothing in it leads to another one, so that all are looked at but once."""
_UUID: Final = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# What says that there is no secret, or that it has been masked already.
_NOTHING: Final = re.compile(r"(?i)(?:none|null|true|false|yes|no|\**)")

_HINT: Final = re.compile(
    "pass|key|auth|secret|token|pwd|pswd|chap|cookie|signature|credential|hmac|connection_info"
    "|user_?data|config_?drive|hash_?suffix|fsid|cryptokek|sessionid|session_id|sig|pw|psk|otp"
)
"""What each name that promises a secret has in it, in lower case."""

# What follows such a name, quoted or not, before its value: name=, "name": , ('name', , name -v ,
# --name , name | , name 'value'.
_NAME: Final = re.compile(
    r"""(?x)
    (?P<option> (?<=-) )? (?P<name> \w [\w.-]* )
    (?: %5D | %22 | %27 | \] | &\#?\w{2,4}; )? (?P<quote> \\{0,7} ["'] )?
    (?: \s{0,40} (?: =&gt; | => | := | [=:] | %3[AaDd] ) \s{0,4} (?: [ubr] (?= \\{0,7} ["']) )?
      | (?(quote) (?P<pair> \s{0,4} , ) \s{0,4}
          (?: \\{0,7} ["'] --? [A-Za-z]+ \\{0,7} ["'] \s{0,4} , \s{0,4} )?
          (?: [ubr] )? (?= \\{0,7} ["']) | (?!) )
      | \s{1,4} --? [A-Za-z]+ [\s=]{1,4}
      | (?(option) \s{1,4} (?! -) | (?!) )
      | \s{0,40} \| \s{1,4}
      | (?: \s{1,4} (?: is | was ) )? \s{1,4} (?= \\{0,7} ["']) )
    """
)
_WORD_PART: Final = re.compile(r"[\w.-]")
_WORD_REST: Final = re.compile(r"[\w.-]*")
# A name that does not stand right before its value: "name": "password", "value": "…".
_NAMED: Final = re.compile(
    r"""(?x) \b (?i: name | key ) \\{0,7} ["']? \s{0,4} [=:] \s{0,4} \\{0,7} ["']?
    (?P<name> [\w.-]+ ) \\{0,7} ["']? \s{0,4} ,? \s{0,4} \\{0,7} ["']?
    (?i: value ) \\{0,7} ["']? \s{0,4} [=:] \s{0,4} """
)
# A value, to its closing quote; a quote left open, because the text was cut, hides the rest.
_VALUE: Final = re.compile(
    r"""(?xs)
    (?: (?P<deep> \\{1,7} ["'] ) .*? (?: (?<!\\) (?P=deep) | $ )
      | " (?: [^"\\] | \\. )* (?: " | \\? $ ) | ' (?: [^'\\] | \\. )* (?: ' | \\? $ )
      )+  # several: a shell's way to say an apostrophe
      # and more: the quotes belong to the secret
      (?: [^\s,;:)}\]>'"\\] \S*? (?= \\{0,7} ["']? [,;)}\]>]{0,32} (?: \s | $ ) ) )?
    | &(?:quot|apos|\#34|\#39|\#x27); .*? (?: &(?:quot|apos|\#34|\#39|\#x27); | $ )
    | (?i: bearer | basic | negotiate | digest ) \s{1,4} [^\s,<]+
    | (?i: chap ) \s{1,4} \S+ (?: \s{1,4} \S+ )?
    # To the next blank, but for the punctuation of what it stands in.
    | \S+? (?= \\{0,7} ["']? [,;)}\]>]{0,32} (?: \s | $ ) )
    """
)
# A header's value of two words: a scheme, of which there are as many as vendors, and what it takes.
_SCHEME: Final = re.compile(
    r"""[\w-]{1,32}[ \t]{1,4}(?![A-Za-z_-]{1,16}=(?:\\{0,7}["']|&|[^=\s]))(?=[\w+/])[^\s,<'"\\&]+"""
)
# What a header's value goes on with: Cookie: a=b; c=d, Digest username="a", response="b".
_PARAMETERS: Final = re.compile(
    r"""(?:[;,]\s{0,4}[\w.-]{1,64}=(?:\\{0,7}(?:"[^"]*"|&quot;[^&]*&quot;)|[^\s,;'"]*))*"""
)
_HEADER: Final = re.compile(r"(?i)authorization|cookie")
_STRUCTURE: Final = re.compile(
    r"""(?s)"(?:[^"\\]|\\.)*(?:"|\\?$)|'(?:[^'\\]|\\.)*(?:'|\\?$)|[\[\](){}]"""
)
# What a request's schema has refused; the value is said again in what it has against it.
_REFUSED: Final = re.compile(
    r"field/attribute\s(?P<name>[\w.-]{1,128})\.\s{1,4}Value:\s(?!None\.\sNone\s)"
)
# A password right behind its name, as prose has it; it has to look like one, or be no word at least.
_SPOKEN: Final = re.compile(r"(?i)pass(?:word|wd|phrase|code)$")
_SPOKEN_VALUE: Final = re.compile(
    r"""(?x) (?: [ ]{1,4} (?: is | was ) :? )? [ ]{1,4}
    (?P<said> (?: (?= [^\s\d]{0,64} \d) (?= [^\sA-Z]{0,64} [A-Z]) (?= [^\sa-z]{0,64} [a-z])
          | (?= [\w]{0,64} [!\#$%^*~]{1,8} \w ) )
      [^\s'"\\/(){}<>\[\]:=,]{6,128} (?<! \. ) ) (?= [.,;:)]? (?: \s | $ ) )"""
)
_ESCAPED: Final = re.compile(r"""\\(["'\\])""")
_REST: Final = re.compile(r"[^\s,;:)}\]>'\"\\]\S*")

_ELEMENT: Final = re.compile(
    r"""(?xs) (?: < | &lt; ) (?P<name> [\w.:-]+ ) (?P<attributes> (?: \s [^<>&]{0,200} )? )
    (?: > | &gt; ) (?P<value> <!\[CDATA\[ .*? (?: \]\]> | $ ) | (?: (?! &lt; ) [^<] )+ )"""
)
_SHAPES: Final = re.compile(
    r"""(?xs)
    gAAAA[\w-]{20,}=* | (?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]+)* | (?<!\w)AQ[A-Za-z0-9+/]{36,38}={1,2}
    | DHHC-1:[\w+/=:]+ | hvs\.[\w-]{20,} | \$(?:1|2[aby]|5|6|y)\$[\w./$=,]{20,}
    | -----BEGIN[ ][A-Z ]{0,20}PRIVATE[ ]KEY-----.*?(?:-----END[^-]{0,40}-----|$)
    | (?<=[Bb]earer[ ])(?=\S*[A-Z0-9])[\w.~+/=-]{8,} | (?<=Basic[ ])(?=\S*[A-Z0-9])[\w+/=-]{8,}
    """
)
_SHAPE_HINTS: Final = (
    "gAAAA",
    "eyJ",
    "AQ",
    "DHHC-1:",
    "hvs.",
    "$",
    "-----BEGIN",
    "earer ",
    "Basic ",
)
# A user and a password before a host. The password may have a slash in it; a port is none.
_URL_USER: Final = re.compile(
    r"(://)(?:[^/\s]+@|[^\s/:@]{0,64}:(?!\d{1,5}(?:/|\s|$))[^\s@]{1,256}@(?:[^\s@/]{1,64}@)*)"
)
_BARE_USER: Final = re.compile(
    r"(?<![\w/.-])([\w.-]{1,64}:)[^\s@/]{4,256}@(?=\d{1,3}(?:\.\d{1,3}){3})"
)
_AT_ADDRESS: Final = re.compile(r"@\d")
_URL_TOKEN: Final = re.compile(r"(/tokens?/)[\w.=~%-]{16,}")

# What stands between words of a command, as a shell, a list or a --name=value has it; and a word.
_QUOTE: Final = r"""(?:\\{0,7}["']|&(?:quot|apos|\#34|\#39|\#x27);)"""
_NEXT: Final = rf"""(?:{_QUOTE}?\s{{0,4}},\s{{0,4}}|{_QUOTE}?\s{{1,4}}|=)"""
_WORD: Final = (
    r"""(?:(?:"(?:[^"\\]|\\.)*(?:"|\\?$)|'[^']*(?:'|$))+"""
    rf"""|(?=[\\&]){_QUOTE}.*?(?:{_QUOTE}|$)|[^\s'"]+)"""
)
# A word that is looked at for what follows it, and so perhaps in vain.
_BOUNDED: Final = (
    r"""(?:(?:"(?:[^"\\]|\\.){0,256}"|'[^']{0,256}'){1,5}"""
    rf"""|(?=[\\&]){_QUOTE}.{{0,256}}?{_QUOTE}|[^\s'"]+)"""
)
# A user, whose password follows: tgt has a blank behind the name, SCST an equals sign, perhaps both.
_TARGET_USER: Final = r"((?i:incominguser|outgoinguser)[=\s]{1,4}\S+\s{1,4})"
_TOOLS: Final = tuple(
    (tool, re.compile(f"(?s){before}{secret}"))
    for tool, before, secret in (
        ("curl", rf"((?<![\w-])(?:--user|--proxy-user){_NEXT}|(?<![\w-])-[uU]{_NEXT}?)", _WORD),
        ("openssl", rf"((?<![\w-])-[kK]{_NEXT})", _WORD),
        ("mysql", r"((?<![\w-])-p)", _WORD),
        ("mariadb", r"((?<![\w-])-p)", _WORD),
        ("sshpass", rf"((?<![\w-])-p{_NEXT}?)", _WORD),
        ("ipmitool", rf"((?<![\w-])-P{_NEXT})", _WORD),
        ("smbclient", rf"((?<![\w-])-U{_NEXT}?)", _WORD),
        ("snmp", rf"((?<![\w-])-[cAX]{_NEXT})", _WORD),
        ("redis-cli", rf"((?<![\w-])-a{_NEXT})", _WORD),
        ("ldap", rf"((?<![\w-])-w{_NEXT})", _WORD),
        ("uemcli", rf"((?<![\w-])-p{_NEXT})", _WORD),
        ("rtstool", r"(create[\"',]{0,2}(?:\s{1,4}\S+){3}\s{1,4})", _WORD),
        ("rtstool", r"(add-initiator[\"',]{0,2}(?:\s{1,4}\S+){2}\s{1,4})", _WORD),
        ("secret,", r"(secret,(?:[\w-]{1,32}=[^,\s]{0,64},){0,8}data=)", r"(?:[^,\s'\"]|,,)+"),
        ("echo", r"(\becho\s{1,4}(?:-\w+\s{1,4})?)", _BOUNDED + r"(?=\s{0,4}\|)"),
        ("identified by", r"((?i:identified\sby)\s{1,4})", _WORD),
        # What drivers log, and write for a target's server, beside programs' words.
        ("outgoinguser", _TARGET_USER, _WORD),
        ("incominguser", _TARGET_USER, _WORD),
        ("chap_initiator", r"((?i:chap_initiator)=[^\s:]{1,128}:)", _WORD),
        ("chap", r"((?i:chap)(?:\screds\sto|:)\s{1,4}\S+\s:\s)", _WORD),
        ("session ", r"((?<!\w)[Ss]ession(?:\skey)?\s)", r"(?=\D{0,32}\d)[\w.+/=-]{16,}"),
    )
)
"""Programs, and what leads to a secret among their words."""


_LOWER: Final = {ord(upper): upper.lower() for upper in string.ascii_uppercase}


def promises_secret(name: str) -> bool:
    """Whether what bears ``name`` is a secret, whatever it looks like."""
    return _promises(name[-NAME_LIMIT:])


@functools.lru_cache(maxsize=1024)
def _promises(name: str) -> bool:
    return _SECRET.search(name) is not None


def is_key(name: str, value: str) -> bool:
    """Whether ``value`` is one of those keys that open something: long, random and so called."""
    return (
        _KEY.search(name[-NAME_LIMIT:]) is not None
        and _RANDOM.fullmatch(value) is not None
        and _UUID.fullmatch(value) is None
    )


def is_nothing(value: str) -> bool:
    """Whether ``value`` says that there is no secret, or that somebody has masked it."""
    return _NOTHING.fullmatch(value) is not None


def decoded(found: str) -> str:
    """``found`` with what was encoded in it as plain as it once was: entities, %20, \\"."""
    if "&" in found:
        found = html.unescape(found)
    if "%" in found:
        found = unquote(found)
    return _ESCAPED.sub(r"\1", found) if "\\" in found else found


def mask(found: str) -> str:
    """``found`` without the secrets that something in it points at."""
    for shape in _SHAPE_HINTS:
        if shape in found:
            found = _SHAPES.sub(MASK, found)
            break
    if "@" in found:
        if "://" in found:
            found = _URL_USER.sub(rf"\1{MASK}@", found)
        if _AT_ADDRESS.search(found):
            found = _BARE_USER.sub(rf"\1{MASK}@", found)
    if "/token" in found:
        found = _URL_TOKEN.sub(rf"\1{MASK}", found)
    lower = _lower(found)
    for tool, words in _TOOLS:
        if tool in lower:
            begin = lower.find(tool)
            found = found[:begin] + words.sub(rf"\1{MASK}", found[begin:])
            lower = _lower(found)
    if not _HINT.search(lower):
        return found
    if "<" in found or "&lt;" in found:
        found = _ELEMENT.sub(_mask_element, found)
    if "value" in lower:
        found = _mask_refused(_mask_named(found))
    return _mask_values(found)


def _lower(found: str) -> str:
    lower = found.lower()  # which makes two characters of some
    return lower if len(lower) == len(found) else found.translate(_LOWER)


def _mask_element(match: re.Match[str]) -> str:
    said = match["value"]
    if not (promises_secret(match["name"]) or _SECRET.search(match["attributes"])):
        return match[0]
    return match[0] if is_nothing(said.strip()) else match[0].removesuffix(said) + MASK


def _mask_named(found: str) -> str:
    parts = []
    done = 0
    for match in _NAMED.finditer(found):
        if match.start() >= done and promises_secret(match["name"]):
            parts += [found[done : match.end()], MASK]
            done = _end(found, match.end(), match["name"])
    return "".join([*parts, found[done:]])


def _mask_refused(found: str) -> str:
    for match in _REFUSED.finditer(found):
        if promises_secret(match["name"]):
            return found[: match.end()] + MASK
    return found


def _mask_values(found: str) -> str:
    parts = []
    done = at = 0
    lower = _lower(found)
    while hint := _HINT.search(lower, at):
        first = _begin(found, hint.start(), at)
        at = _WORD_REST.match(found, hint.end()).end()  # type: ignore[union-attr]
        match = _NAME.match(found, first)
        if match is None:
            spoken = _SPOKEN.search(found, first, at) and _SPOKEN_VALUE.match(found, at)
            if spoken:
                parts += [found[done : spoken.start("said")], MASK]
                done = at = spoken.end()
            continue
        begin, name = match.end(), match["name"]
        if promises_secret(name) or (name == "auth" and found[begin : begin + 1] == "{"):
            end = _end(found, begin, name)
        else:
            value = _LONG.match(found, begin)
            end = value.end() if value and is_key(name, value["said"]) else begin
        if match["pair"] and found[end : end + 1] == ":":
            continue  # 'CHAP', 'auth_username': its neighbour is the next name
        if not is_nothing(found[begin:end].strip("\\\"'")):
            parts += [found[done:begin], MASK]
            done = at = end
    return "".join([*parts, found[done:]]) if parts else found


def _begin(found: str, hint: int, done: int) -> int:
    """Where the name begins that has a hint in it."""
    begin = hint
    done = max(done, hint - NAME_LIMIT)
    while begin > done and _WORD_PART.match(found, begin - 1):
        begin -= 1
    while begin < hint and found[begin] in ".-":
        begin += 1
    return begin


def _end(found: str, begin: int, name: str) -> int:
    """Where the value ends that begins there: a structure with its bracket, a header with its line."""
    if found[begin : begin + 1] in ("{", "[", "("):
        depth = 0
        for piece in _STRUCTURE.finditer(found, begin):
            depth += (piece[0] in ("{", "[", "(")) - (piece[0] in ("}", "]", ")"))
            if not depth:
                rest = _REST.match(found, piece.end())
                return rest.end() if rest else piece.end()
        return len(found)
    is_header = _HEADER.search(name) is not None
    value = (_SCHEME.match(found, begin) if is_header else None) or _VALUE.match(found, begin)
    if value is None:
        return begin
    if is_header:
        more = _PARAMETERS.match(found, value.end())
        return more.end() if more else value.end()
    return value.end()
