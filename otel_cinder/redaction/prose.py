"""Words behind the name of a secret: those that talk about it, and those that are it.

"password is incorrect", "token for user admin has expired" say nothing secret; "password is
swordfish" does. So what is known here is what is harmless: the words in which services talk of
secrets, and the shapes of ids, addresses, sizes and names. What is not known is taken for the secret.
"""

from __future__ import annotations

import enum
import re
from typing import Final


class Kind(enum.IntEnum):
    """Degrees by which a word looks like a secret."""

    PLAIN = 0
    """One of the words in which services talk, an id, an address, a size."""
    UNKNOWN = 1
    """Any other word: a secret if it follows right behind the name of one."""
    OPAQUE = 2
    """Letters among digits or signs, as no language has them: a secret anywhere."""


CONNECTORS: Final = frozenset(
    "is was equals becomes became like says reads 为 是 は が を ist war lautet est"
    " era es jest byl var és это now value".split()
)
"""Words behind which the secret itself may come."""

CHANGES: Final = frozenset(
    "set changed reset updated modified equal equals converted rotated switched replaced renamed".split()
)
"""Words behind which it may come with ``to`` or ``as`` between."""

SUBJECTS: Final = frozenset(
    "user users username account login host server node volume snapshot backend pool array project"
    " tenant domain role group name id instance image type port lun target initiator for by on at"
    " from of in under within via client service device system cluster controller svm vserver line"
    " file path option section field attribute key parameter request thread process job task bug"
    " number code uuid url uri fsid ip iqn wwn wwpn alias label tag reason error message detail"
    " details result response exception status state".split()
)
"""Words behind which comes the name of something else."""

_WORDS: Final = frozenset(
    """
    a about above absent accept accepted access account according across action active actual add
    added address admin after again against ago algorithm all allow allowed along already also alone
    always an and another any api are argument array as at attempt attempts attribute auth authentication
    authorization automatically available back backend bad based basic be bearer because been before
    being below between both bucket but by cache cached call called can cannot can't certificate chain
    change changed changes chap character characters check checks claim client cluster code command
    complete complexity config configuration configured connect connected connection contain contains
    content context could couldn't create created creation credential credentials current currently data
    database date day days decode default define defined delete deleted denied details device did didn't
    differ different digits directory disabled discovery do does doesn't domain don't due during each
    either else empty enable enabled encoded encrypted encryption end endpoint enough enter entity entry
    error errors even every exactly exceeded except exception exist existing exists expected expire
    expired expires expiration expiry fail failed fails failure false fetch field file files find first fixed
    for format formatted found from full further generate generated get given gives group had handle
    hardware has hash hashing have header headers here host hour hours how http https id identity if
    ignored image in incomplete incorrect info information initiator input instance instead insufficient
    interval into invalid is isn't issue issued issues it item its itself keep key keys keystone kind know
    known last later least length less lifetime like limit list load local locked login long longer lost
    made make manager many match matches maximum may mechanism message method middleware minimum minute
    minutes mismatch missing mode model more most much must mutual name named need needed needs neither
    network never new next no nobody node non none nor not nothing now null number object obtain obtained
    of off ok old on once one only onto operation operations option options or other out outside over own
    owner page pair parameter params part parts pass passed path per permission permissions persistent
    phrase plain please plugin policy pool port present prevent previous problem process project
    properties property keyfile credential dsm protected protocol provide provided provider quota rather read reading reason
    received record refresh refused region reject rejected release remain remains remote remove removed
    renew replace replaced request requested requests require required requires reset resource response
    parameters permissions result retries retry return returned returns revoked right role root rotate rotation row rule said
    same save saved says scope scoped second seconds section see seems send sent server service services
    session sessions set sets setting settings shall short should since size skip so some something soon
    source space spec specified start started state status still storage store stored string strong such
    support supported supports system table target tenant than that the their them then there therefore
    these they this those through time timed times timeout to together token tokens too total true trust
    try trying twice two type types unable unauthorized under unknown unless until unset unused up
    update updated upon usage use used user username users uses using valid validate validated validation
    validity value values verification verify version via wait was way we weak well were what when where
    whether which while who whose why will with within without won't worker write wrong yes yet you your
    zero bucket buckets cookie cookies count counter counts driver drivers manager flow grant grants
    volume volumes snapshot snapshots backup backups share shares export exports secret secrets
    password passwords passphrase metadata container containers payload barbican castellan vault consumer
    consumers order orders acl acls ref reference rotates endpoint endpoints catalog fernet jwt uuid pki
    oauth ldap kerberos radius saml ssl tls ssh iscsi snmp admin administrator guest manage operator
    minute month months week weeks year years today tomorrow yesterday success successful fine good
    cleared clear busy idle ready pending gone alive dead dual single double half three four five six
    logged logging log logs sync synced attached detached attach detach mapped unmapped mount mounted
    mounts unmount open opened close closed temporary permanent primary secondary internal external
    public private global unique duplicate empty blank nonempty case upper lower letter letters symbol
    symbols digit special ascii utf unicode bytes byte bits bit hex base plaintext cleartext
    serial label labels retrieval store stores structure cipher got expected older newer timestamp
    signature signatures table tables row rows identical also loaded pre console usage argument
    feature features module modules product products
    arguments are were be being been re un able i e g eg ie etc vs
    错误 无效 失败 过期 正确 不正确 为空 不能 不能为空
    falsch ungültig abgelaufen fehlt leer nicht gesetzt incorrect incorrecte invalide expiré manquant
    incorrecta inválida caducada incorreta неверный неверен истёк истек отсутствует не
    """.split()
)
"""The words in which services talk of secrets."""

_ALL: Final = _WORDS | CONNECTORS | SUBJECTS | CHANGES

# Words that a language makes by rule: validated, expiring, rotation, readable, temporarily. And those
# of programs: KeyError, ConnectTimeout.
_MADE: Final = re.compile(
    r"""(?x)
    [a-z]{2,20}(?:ed|ing|ions?|ments?|able|ible|ly|ness|ances?|ences?|ities|ity|ive|ous|izer?s?|izes|less|ory)
    | [a-z]{0,40}(?:error|exception|timeout|warning|failure|mixin|manager|handler|driver|client|server|object)
    """
)
_SHAPES: Final = re.compile(
    r"""(?xi)
    \#\d{1,12} | [-+]?\d{1,3}(?:[.,]\d+)?(?:%|s|ms|us|[kmgtp]i?b?|bits?|bytes?|x|st|nd|rd|th|d|h|m)?
    | v\d{1,2}(?:\.\d{1,3}){0,3} | \d+(?:\.\d+){1,5}(?:[-.+]\w{1,12})? | 0x[0-9a-f]+
    | [12]\d{3}-[01]\d-[0-3]\d(?:[T_][\d:.]{5,15}(?:Z|[+-]\d\d:?\d\d)?)? | \d\d?:\d\d(?::\d\d(?:\.\d+)?)?
    | (?:[\w.]{1,40}-|\w{1,20}_|req-)?[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?:-[a-z]{1,16})?
    | (?:iqn|nqn|eui|naa|wwn)[.-][\w.:-]+ | (?:[0-9a-f]{2}:){5,19}[0-9a-f]{2}
    | \[?[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}\]?(?::\d{1,5})?
    | \d{1,3}(?:\.\d{1,3}){3}(?:/\d\d?|:\d{1,5})?
    | (?:sha|md|aes|des|3?des|blowfish|bcrypt|argon|hs|rs|es|ps|ed|x|ipv|utf-?|base|oauth|saml|snmpv|ntlmv|pkcs\#?
      |3par|http/|tlsv?|sslv|s|rfc|cve|cmmvc|errno|e|err|http|code|lun|lvm|nvme|iscsi|fc|sd[a-z]|dm-)
      -?\d{1,4}(?:[._-]\d{1,3})?[a-z]?
    """
)
PUNCTUATION: Final = ".,;:!?()[]{}<>\"'`-=|*"
"""Characters around words that belong to none of them."""

_PARTS: Final = re.compile(r"[_\-/.'@#:,]|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_JOINTS: Final = re.compile(r"[_\-/.'@#:,]+")
_ID: Final = re.compile(r"(?i)[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_LETTERS: Final = re.compile(r"[^\W\d_]+")
_NUMBERED: Final = re.compile(r"(?:[A-Z]?[a-z]{1,16}|[A-Z]{1,16})\d{1,3}")
_PATH: Final = re.compile(r"(?:~|\.{1,2}|[A-Za-z]:)?(?:[/\\][\w.+:,@-]*)+")
_PLACED: Final = re.compile(
    r"""(?x)
    [a-z_][\w-]*(?:\.[A-Za-z_][\w-]*)+(?:\(\))?(?::\d{1,5})?  # a module, a host, a file
    | [\w.-]{1,64}@[\w.-]{1,64}(?:\#[\w.-]{1,64})?  # a backend, somebody on a host
    | [a-z][\w.-]{0,64}:\d{1,5} | [\w.-]{1,40}(?:/[\w.-]{1,60}){1,6}
    """
)
_MIXED: Final = re.compile(r"(?=\D*\d)(?=[^A-Z]*[A-Z])(?=[^a-z]*[a-z])")
_SHORT: Final = 6
_LONG: Final = 24
"""Characters from which on a name in mixed case is taken for a secret."""


def kind_of(word: str, *, direct: bool) -> Kind:
    """The degree by which ``word`` looks like a secret.

    Args:
        word: without blanks, and without the punctuation around it.
        direct: True right behind the name of a secret, or behind ``is`` there.
    """
    if is_spoken(word) or _SHAPES.fullmatch(word) or "://" in word:
        return Kind.PLAIN
    parts = _PARTS.split(word)
    if len(parts) > 1 and all(_is_little(part) for part in parts):
        return Kind.PLAIN
    if word[0] in "/~" and _PATH.fullmatch(word):
        return Kind.PLAIN
    if all(not part or _LETTERS.fullmatch(part) for part in parts):
        return Kind.UNKNOWN
    if direct:
        return Kind.OPAQUE
    if len(word) < _SHORT or all(map(_is_numbered, _JOINTS.split(_ID.sub("", word)))):
        return Kind.UNKNOWN
    is_name = len(word) < _LONG or word.islower()
    return Kind.UNKNOWN if is_name and _PLACED.fullmatch(word) else Kind.OPAQUE


def is_opaque(word: str) -> bool:
    """True if ``word`` looks like a secret anywhere: it is no word, name, id, address or number."""
    return len(word) >= _SHORT and kind_of(word, direct=False) is Kind.OPAQUE


def is_mixed(word: str) -> bool:
    """True if ``word`` is opaque, with small and capital letters and digits in it."""
    return is_opaque(word) and _MIXED.match(word) is not None


def _is_numbered(part: str) -> bool:
    return not part or part.isdecimal() or part.isalpha() or bool(_NUMBERED.fullmatch(part))


def _is_little(part: str) -> bool:
    return not part or part.isdecimal() or part == "***" or is_spoken(part)


def is_spoken(word: str) -> bool:
    """True if ``word`` belongs to the vocabulary of services' messages."""
    lower = word.lower()
    if lower in _ALL or lower.removesuffix("s") in _ALL or _MADE.fullmatch(lower):
        return True
    return len(word) < _SHORT and word.isupper() and word.isalpha()  # an abbreviation


def is_secret(value: str) -> bool:
    """True if a value looks like a secret, although its name does not promise one."""
    return any(kind_of(word, direct=False) is Kind.OPAQUE for word in value[:256].split())


def may_be_secret(text: str) -> bool:
    """True if ``text``, which is called a secret, may be one: not all its words are plain."""
    words = [word.strip(PUNCTUATION) for word in text[:256].split()]
    return not words or any(kind_of(word, direct=True) > Kind.PLAIN for word in words if word)
