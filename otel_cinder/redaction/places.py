"""Secrets that are known by their shape, or by their place: in a URL, among a command's words.

As in `otel_cinder.redaction.patterns`, nothing here may take more than its text's length.
"""

from __future__ import annotations

import base64
import re
from typing import Final

from otel_cinder.redaction import prose
from otel_cinder.redaction.names import lowered, promises_secret
from otel_cinder.redaction.prose import Kind

MASK: Final = "***"

_CUT: Final = r"(?=\s*(?:…|\.{3}|\[?\(?<?(?:truncated|snip)|$))"
"""The end of a text, or a sign that it was cut."""

# Shapes

_SHAPES: Final = re.compile(
    rf"""(?xs)
    gAAAA(?:[\w-]{{20,}}=*|[\w-]*{_CUT}) | (?<![\w-])eyJ(?:[\w-]{{8,}}\.[\w-]{{8,}}(?:\.[\w-]+)*|[\w.-]*{_CUT})
    | (?<!\w)AQ(?:[A-Za-z0-9+/]{{36,38}}={{1,2}}|[A-Za-z0-9+/]{{14,38}}{_CUT})
    | DHHC-1:[\w+/=:]+ | NVMeTLSkey-1:[\w+/=:]+ | (?<!\w)(?:hvs|hvb|hvr)\.[\w-]{{10,}} | AUTH_tk\w{{4,}}
    | \$(?:1|2[aby]|5|6|y|argon2\w{{1,2}}|pbkdf2[\w-]{{0,8}})\$[\w./$=,+-]{{20,}} | \{{S?(?:SHA|MD5|CRYPT)\d{{0,3}}\}}\S{{8,}}
    | (?<!\w)(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|[spr]k_live_|npm_|ya29\.|AIza|AGE-SECRET-KEY-)[\w.-]{{10,}}
    | -----BEGIN[ ][A-Z0-9 ]{{0,24}}PRIVATE[ ]KEY(?:[ ]BLOCK)?-----.*?(?:-----END[^-]{{0,40}}-----|$)
    | Private-Lines:.* | (?<=[Bb]earer[ ])(?=\S*[A-Z0-9])[\w.~+/=-]{{8,}} | (?<=Basic[ ])(?=\S*[A-Z0-9])(?![A-Z]?[a-z]+\b)[\w+/=-]{{8,}}
    | (?<=Negotiate[ ])[\w+/=-]{{8,}} | (?<=NTLM[ ])[\w+/=-]{{8,}}
    """
)
_SHAPE_HINT: Final = re.compile(
    r"gAAAA|eyJ|AQ|DHHC-1:|NVMeTLSkey-1:|hv[sbr]\.|AUTH_tk|\$(?:1|2|5|6|y|argon|pbkdf)|\{S?(?:SHA|MD5|CRYPT)"
    r"|gh[pousr]_|github_pat_|glpat-|xox.-|_live_|npm_|ya29\.|AIza|AGE-SECRET"
)
LEADS: Final = ("bearer", "basic ", "negotiate ", "ntlm ", "-----", "private-lines")
"""The text before other known shapes, in lower case."""
_END_OF_KEY: Final = re.compile(r"[A-Za-z0-9+/=\s\\]{16,}(?=-----END [A-Z0-9 ]{0,24}PRIVATE KEY)")
"""A private key whose beginning was cut off."""

_RUN: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_DIGIT: Final = re.compile(r"\d")
_JOINT: Final = re.compile(r"[_/+-]")
_PAIRS: Final = frozenset(
    """
    th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me
    de hi ri ro ic ne ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho pe ec pr no ct us ac ot
    il tr ly nc et ut ss so rs un lo wa ge ie wh ee wi em ad ol rt po we na ul ni ts mo ow pa im mi ai
    sh ir su id os iv ia am fi ci vi pl ig tu ev ld ry mp fe bl ab gh ty op wo sa ay ex ke
    """.split()
)
"""Pairs of letters that are common in words."""
_LOGIN: Final = re.compile(rb"\0?[\w.@\\-]{1,64}[:\0][!-~]{3,}")
_RANDOM: Final = 27
_RANDOM_PART: Final = 24
"""Characters of a random word, and of a part of one, that are no id: one in base64 has 22."""


def mask_shapes(text: str) -> str:
    """``text`` without anything that looks like a key or a token, in any context."""
    long = [
        word
        for word in text.split()
        if len(word) > 11 and not word.islower() and _DIGIT.search(word)
    ]
    if long and any(map(_SHAPE_HINT.search, long)):
        text = mask_known_shapes(text)
    if long and any(map(_RUN.search, long)):
        text = _RUN.sub(_mask_random, text)
    return text


def mask_known_shapes(text: str) -> str:
    """``text`` without keys and tokens of a known kind, those behind ``Bearer`` among them."""
    text = _SHAPES.sub(MASK, text)
    return _END_OF_KEY.sub(MASK, text) if "-----END" in text else text


def _mask_random(match: re.Match[str]) -> str:
    run = match[0]
    if run.islower() or run.isupper() or run.isdecimal():
        return run  # hexadecimal, a path, a constant: an id maybe
    return MASK if _is_random(run) or _is_login(run) else run


def _is_random(run: str) -> bool:
    """True if a long word with digits in it is not made of words."""
    run = _ID.sub("", run).rstrip("=")
    parts = [part for part in _JOINT.split(run) if len(part) >= _RANDOM_PART]
    return (len(run) >= _RANDOM and _is_mixed_up(run)) or any(map(_is_mixed_up, parts))


def _is_mixed_up(run: str) -> bool:
    if not any(map(str.isdigit, run)):
        return False
    lower = run.lower()
    pairs = [lower[at : at + 2] for at in range(len(run) - 1) if lower[at : at + 2].isalpha()]
    return sum(pair in _PAIRS for pair in pairs) < len(pairs) * 0.4


def _is_login(run: str) -> bool:
    """True for base64 of ``user:password``."""
    if len(run) > 256 or len(run) % 4 or "-" in run or "_" in run:
        return False
    try:
        return _LOGIN.fullmatch(base64.b64decode(run, validate=True)) is not None
    except ValueError:
        return False


# URLs

# A user and a password before a host. The password may have a slash in it; a port is none.
_URL_USER: Final = re.compile(
    r"(://|(?<![\w:/.])//(?=[^\s/:@]{0,64}:))(?:[^/\s]+@|[^\s/:@]{0,64}:(?!\d{1,5}(?:/|\s|$))[^\s@]{1,256}@(?:[^\s@/]{1,64}@)*)"
    r"(?:[^\s@/,]{1,255},[^\s@:/,]{0,64}:[^\s@]{1,256}@)*"
)
# One that was cut before its "@": the text behind the colon is no port.
_CUT_USER: Final = re.compile(
    r"(://[^\s/:@\[\]'\"<>{}%]{0,64}:)(?!\d{0,5}(?![\w!#$^&*+~]))[^\s@/'\"<>(){}%\[][^\s'\"<>]*"
)
_CUT_BEGIN: Final = re.compile(r"^(?:…|\.\.\.)[^\s@/]{1,256}(?=@[\w.\[-])")
_BARE_USER: Final = re.compile(
    r"(?<![\w/.-])([\w.-]{1,64}:)([^\s@/]{4,256})@(\d{1,3}(?:\.\d{1,3}){3})?(?=[\w.\[])"
)
# Text behind the name of a login, or the name of an open session.
_LOGIN_PATH: Final = re.compile(
    r"""(?xi)
    (/[\w.-]{0,24}?(?:log_?-?[io]n|log_?-?out|sign_?-?in|auth\w{0,12}|sessions?|tokens?|passw\w{1,8}|password|otp|pin
      |credentials?|secrets?|tickets?|api_?-?keys?|apikeys?|sso|verify|reset|invit\w{1,6}|magic|unlock|nonce|(?:web)?hooks?)/)
    ((?:[^\s/?#'"<>,;)\]}|\\]+/)*[^\s/?#'"<>,;)\]}|\\]{3,})"""
)
_PARAMETER: Final = re.compile(r"([?&;#](?:amp;)?[\w.%~\[\]-]{1,64}=)([^&\s'\"<>#;\\]+)")
_OF_LOGIN: Final = re.compile(r"(?i)log-?_?[io]n|sign-?_?in|auth|session|token|otp|sso|credential")
_UUID: Final = "(?i:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})"
_ID: Final = re.compile(_UUID)


def mask_users(text: str) -> str:
    """``text`` without the users and passwords before hosts, in URLs and without."""
    if "@" in text:
        if "//" in text:
            text = _URL_USER.sub(rf"\1{MASK}@", text)
        text = _BARE_USER.sub(_mask_bare, text)
        text = _CUT_BEGIN.sub(MASK, text)
    if "://" in text:
        text = _CUT_USER.sub(rf"\1{MASK}", text)
    return text


def mask_logins(text: str) -> str:
    """``text`` without what is sent behind the name of a login, and in the query strings of URLs."""
    text = _LOGIN_PATH.sub(_mask_path, text)
    if "=" in text and ("?" in text or "#" in text):
        text = _PARAMETER.sub(_mask_parameter, text)
    return text


def _mask_bare(match: re.Match[str]) -> str:
    """A user and a password before a host, without an URL around them; a backend has an "@" as well."""
    if not match[3] and (
        set("=,;[](){}'\"").intersection(match[2]) or not prose.is_opaque(match[2])
    ):
        return match[0]
    return f"{match[1]}{MASK}@{match[3] or ''}"


def _mask_path(match: re.Match[str]) -> str:
    """A login's path with what is sent in it masked; words, small numbers and versions stay."""
    kept: list[str] = []
    for segment in match[2].split("/"):
        if len(kept) > 1 or not _is_step(match[1], segment):
            return match[1] + "/".join([*kept, MASK])
        kept.append(segment)
    return match[0]


def _is_step(behind: str, segment: str) -> bool:
    """True if ``segment`` of a path names a place, not a user."""
    if _ID.fullmatch(segment):  # of a secret that is kept elsewhere
        return "secret" in behind.lower()
    return prose.kind_of(segment, direct=False) < Kind.OPAQUE and len(segment) < 24


def _mask_parameter(match: re.Match[str]) -> str:
    before, value = match[1], match[2]
    name = before.strip("?&;#=").removeprefix("amp;")
    at_login = _OF_LOGIN.search(match.string, max(0, match.start() - 128), match.start())
    if promises_secret(name):
        return match[0]  # its value may go on further than a parameter's does
    if at_login and len(name) < 3:
        return before + MASK  # u=admin&p=swordfish
    return before + MASK if prose.is_opaque(value) else match[0]


# Commands

# Separators between words of a command, in a shell, a list or --name=value; and a word.
_QUOTE: Final = r"""(?:\\{0,7}["']|&(?:quot|apos|\#34|\#39|\#x27);)"""
_NEXT: Final = rf"""(?:{_QUOTE}?\s{{0,4}},\s{{0,4}}|{_QUOTE}?\s{{1,4}}|=)"""
_WORD: Final = (
    r"""(?:(?:"(?:[^"\\]|\\.)*(?:"|\\?$)|'[^']*(?:'|$))+"""
    rf"""|(?=[\\&]){_QUOTE}.*?(?:{_QUOTE}|$)|[^\s'"]+)"""
)
# A word that is looked at for what follows it, and so perhaps in vain.
_BOUNDED: Final = (
    r"""(?:(?:"(?:[^"\\]|\\.){0,160}"|'[^']{0,160}'){1,5}"""
    rf"""|(?=[\\&]){_QUOTE}.{{0,160}}?{_QUOTE}|[^\s'"]+)"""
)
# A user, whose password follows: tgt has a blank behind the name, SCST an equals sign, perhaps both.
_TARGET_USER: Final = r"((?i:incominguser|outgoinguser)\d{0,3}[=\s]{1,4}\S+\s{1,4})"
# SQL; in small letters, where others are identified by something too, with a quote behind it.
_IDENTIFIED_BY: Final = (
    r"((?:IDENTIFIED\s(?:WITH\s\S+\s)?BY|(?i:identified\s(?:with\s\S+\s)?by)(?=\s{1,4}['\"\\&]))"
    r"(?i:\spassword)?\s{1,4})"
)
# A password behind its user: small and capital letters with digits, or with signs, and no path.
_OF_USER: Final = (
    r"(?=[^\s/]{0,64}[\d!#$%^&*])(?=[^\s/]{0,64}[A-Z])(?=[^\s/]{0,64}[a-z])[^\s'\",;)\]}>]{6,128}"
)
# A user, whose password is the next argument.
_CALL_OF_LOGIN: Final = r"""((?i:login|auth|credentials?|authenticate)\(\s{0,4}(?:"[^"]{0,64}"|'[^']{0,64}'|\w{1,64})\s{0,4},\s{0,4})"""
_O: Final = r"(?<![\w-])"


def _tools(*forms: tuple[str, str, str]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((tool, re.compile(f"(?s){before}{secret}")) for tool, before, secret in forms)


_TOOLS: Final = _tools(
    ("curl", rf"({_O}(?:--user|--proxy-user|--cookie|--pass){_NEXT}|{_O}-[uUb]{_NEXT}?)", _WORD),
    ("openssl", rf"({_O}-(?:[kK]|hmac|pass(?:in|out)?){_NEXT})", _WORD),
    ("mysql", rf"({_O}-p)", _WORD),
    ("mariadb", rf"({_O}-p)", _WORD),
    ("sshpass", rf"({_O}-p{_NEXT}?)", _WORD),
    ("ipmitool", rf"({_O}-P{_NEXT})", _WORD),
    ("ipmitool", rf"(user{_NEXT}set{_NEXT}password{_NEXT}\S+{_NEXT})", _WORD),
    ("smbclient", rf"({_O}-U{_NEXT}?)", _WORD),
    ("snmp", rf"({_O}-[cAX]{_NEXT})", _WORD),
    ("redis-cli", rf"({_O}-a{_NEXT})", _WORD),
    ("ldap", rf"({_O}-w{_NEXT})", _WORD),
    ("kadmin", rf"({_O}-(?:w|pw){_NEXT})", _WORD),
    ("gpg", rf"({_O}--passphrase{_NEXT})", _WORD),
    ("7z", rf"({_O}-p)", _WORD),
    ("zip", rf"({_O}-P{_NEXT}?)", _WORD),
    ("ssh-keygen", rf"({_O}-[PN]{_NEXT})", _WORD),
    *(
        (tool, rf"({_O}-p{_NEXT})", _WORD)
        for tool in ("uemcli", "xcli", "smcli", "racadm", "docker", "mongo", "scli", "symcli")
    ),
    ("raidcom", rf"({_O}-login{_NEXT}\S+{_NEXT})", _WORD),
    ("<<<", r"(<<<\s{0,4})", _WORD),
)
"""Programs, and what leads to a secret among their words; all of them by an option."""

_SENTENCES: Final = _tools(
    ("rtstool", r"(create[\"',]{0,2}(?:\s{1,4}\S+){3}\s{1,4})", _WORD),
    ("rtstool", r"(add-initiator[\"',]{0,2}(?:\s{1,4}\S+){2}\s{1,4})", _WORD),
    ("secret,", r"(secret,(?:[\w-]{1,32}=[^,\s]{0,64},){0,8}data=)", r"(?:[^,\s'\"]|,,)+"),
    (
        "echo",
        r"(\becho\s{1,4}(?:-\w+\s{1,4})?)",
        _BOUNDED + r"(?=\s{0,4}(?:\||>\s{0,4}\S{0,128}(?:passw|secret|key|auth)))",
    ),
    ("printf", r"(\bprintf\s{1,4}['\"]?%[^\s'\"]{1,8}['\"]?\s{1,4})", _BOUNDED + r"(?=\s{0,4}\|)"),
    ("identified", _IDENTIFIED_BY, _WORD),
    ("rabbitmqctl", rf"((?:add_user|change_password){_NEXT}\S+{_NEXT})", _WORD),
    ("net use", r"(net\suser?\s{1,4}\S+\s{1,4})(?!/)", _WORD),
    ("snmp", r"((?i:md5|sha[\d-]{0,4}|des|3des|aes[\d-]{0,4})\s{1,4})", _BOUNDED),
    ("createuser", r"((?i:md5|sha[\d-]{0,4}|des|3des|aes[\d-]{0,4})\s{1,4})", _BOUNDED),
    ("login ", r"(\bLOGIN\s{1,4}[^\s=]{1,64}\s{1,4})(?!\w{1,32}=)", _WORD),
    (
        "auth ",
        r"(\bAUTH\s{1,4}(?!\w{1,32}=)(?:[\w.-]{1,64}\s{1,4}(?=\S))?)",
        r"(?=\S{0,64}[\d+/=])\S{6,}",
    ),
    ("username=", r"(username=[\w.\\-]{1,64}%)", r"[^\s,'\"]+"),
    ("crypt ", r"(crypt\s{1,4}\S{0,64}aes\S{0,32}\s{1,4})", r"[0-9a-fA-F]{32,}"),
    *(
        (call, _CALL_OF_LOGIN, r"""(?:"[^"]*"|'[^']*'|[^\s,()'"]+)""")
        for call in ("login(", "auth(", "credential(", "credentials(", "authenticate(")
    ),
    # What drivers log, and write for a target's server, beside programs' words.
    ("outgoinguser", _TARGET_USER, _WORD),
    ("incominguser", _TARGET_USER, _WORD),
    ("chap_initiator", r"((?i:chap_initiator)=[^\s:]{1,128}:)", _WORD),
    ("chap", r"((?i:chap)(?:\screds\sto|:)\s{1,4}\S+\s:\s)", _WORD),
    (
        "session ",
        # Not ids of sessions that are no login: of a replication, of iSCSI.
        rf"((?<!\w)[Ss]ession(?:\skey)?\s)(?!{_UUID}(?![\w-])|[in]qn\.)",
        r"(?=\D{0,32}\d)[\w.+/=-]{16,}",
    ),
    *(
        (f"{user}{sign}", rf"((?<![\w/.:-])(?i:\w{{0,24}}{user}\w{{0,8}}){sign})", _OF_USER)
        for user in ("admin", "root")
        for sign in ("/", ":")
    ),
    ("sqlplus", r"(sqlplus\s{1,4}[^\s/]{1,64}/)", r"[^\s@]+"),
    ("jdbc:", r"(jdbc:\w{1,16}:\w{1,16}:[^\s/@]{1,64}/)", r"[^\s@]+"),
)
_OPTION: Final = re.compile(
    rf"""(?s)(-(?:(?<=[\s'"]-)|(?<=^-))(?:[pPwWkKaAXsSNcuUbo]|-?(?:user|auth|login|creds?|account)){_NEXT}{_QUOTE}?)"""
    r"""([^\s'",;\[\]()<>{}=\0-][^\s'",\[\]()<>{}=\0]+={0,2})(?=[\s'",\])]|$)"""
)
_USER_AND_MORE: Final = re.compile(r"[\w.@\\-]{1,64}[:%](?!\d{1,5}$)\S+")

TOOLS: Final = tuple(dict.fromkeys(tool for tool, _ in (*_TOOLS, *_SENTENCES)))
"""One of these, in lower case, is in each text in which `mask_commands` finds something."""


def mask_options(text: str) -> str:
    """``text`` without what looks like a secret behind an option of one letter."""
    return _OPTION.sub(_mask_option, text)


def mask_commands(text: str) -> str:
    """``text`` without what programs are given for a secret."""
    lower = lowered(text)
    has_options = " -" in text or "'-" in text or '"-' in text
    for tool, words in _TOOLS + _SENTENCES if has_options else _SENTENCES:
        if tool in lower:
            begin = lower.find(tool)
            text = text[:begin] + words.sub(rf"\1{MASK}", text[begin:])
            lower = lowered(text)
    return text


def _mask_option(match: re.Match[str]) -> str:
    value = match[2]
    is_login = (
        match[1].lstrip("-")[:1] in "uUal"
        and _USER_AND_MORE.fullmatch(value)
        and "://" not in value
    )
    return match[1] + MASK if is_login or prose.is_opaque(value.rstrip("=")) else match[0]
