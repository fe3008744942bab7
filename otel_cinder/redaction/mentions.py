"""Names of secrets in a text, and the secrets behind them.

A value begins behind a name with ``=``, ``:``, a quote or the like, and ends at its quote, bracket or
blank. Behind a name without any of these there may be words about the secret, or the secret itself:
each word decides (`otel_cinder.redaction.prose`). If the secret may begin there and its end can't be
seen, the rest of the line is masked.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from otel_cinder.redaction import names, prose, values
from otel_cinder.redaction.names import may_promise, promises_secret, says_about
from otel_cinder.redaction.prose import Kind

_UNSPACED: Final = re.compile(
    r"[\u0590-\u06ff\u0900-\u0dff\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)
"""Of scripts whose words need not be apart: a name is no longer than it is known."""

_NAME_REST: Final = re.compile(rf"(?:(?!{_UNSPACED.pattern})[\w.-]){{0,256}}")
_WORD_BEFORE: Final = re.compile(r"[^\W\d_]{2,16}$")
_SECOND_WORD: Final = re.compile(r"(?i)[ ](?:word|phrase|code|key)\b")
_SECOND_NAME: Final = re.compile(
    r"(?i)[ ](?:key|token|string|code|phrase|hash|secret|password|value|data)(?=[\s:='\",|\]-])"
)
_SECONDS: Final = frozenset({"key", "keys", "code", "codes", "string", "phrase", "id"})
"""Names that say little without the word before them: ``access key``."""

# Names that are ambiguous alone.
_UNSPOKEN: Final = re.compile(
    r"(?i)chap|\w*cookie|signature|connection_?info|provider_?auth|user_?data|config_?drive|fsid"
    r"|\w*suffix|auth\w*|hmac|\w*sess(?:ion)?_?(?:id|key)|\w*_id|sig|node\.\S*|keyring|bearer"
)
_VERBS: Final = frozenset({"pass", "Pass"})
# A password that looks like one, so that its end is known.
_PASSWORD: Final = re.compile(r"(?i)pass(?:word|wd|phrase|code)$")
_STRONG: Final = re.compile(
    r"""(?x) (?: [ ]{1,4} (?: is | was ) :? )? [ ]{1,4}
    (?P<secret> (?: (?= [^\s\d]{0,64} \d) (?= [^\sA-Z]{0,64} [A-Z]) (?= [^\sa-z]{0,64} [a-z])
          | (?= [\w]{0,64} [!\#$%^*~]{1,8} \w ) )
      [^\s'"\\/(){}<>\[\]:=,]{6,128} (?<! \. ) ) (?= [.,;:)"']? (?: \s | $ ) )"""
)
# What came to be, or did not: its reason follows, and no secret.
_FAILURE: Final = re.compile(
    r"(?i)\b(?:fail\w*|unable|errors?|could\s?n[o']t|can\s?no?t|problem|exception|refreshing)\b"
    r"[^.,;:=\n]{0,96}$"
)
_CHANGE: Final = re.compile(r"(?i)\b(?:re|up)?(?:set|chang\w+|dat\w+|modif\w+|rotat\w+)\b")
_WITH: Final = re.compile(r"(?i)\b(?:with|using|by)\s(?:the\s|a\s)?$")
# What logs its name, and then a message.
_FUNCTION: Final = re.compile(
    r"_\w+|(?:get|set|create|delete|generate|define|check|update|validate|refresh|add|remove|build"
    r"|parse|fetch|make|verify|reset|rotate|revoke|renew|load|read|do|is|has)_\w+"
)
_SCHEMES: Final = frozenset({"chap", "basic", "bearer", "digest", "negotiate", "session", "token"})
_OPENING: Final = re.compile(r"\\{0,7}[\"'`]|[{\[(&|>]")
"""Beginnings of values whose end can be found."""

_QUOTES: Final = ("'", '"', "`")
_SAYS: Final = ":=是为爲為はがを는은이가"
"""Behind which a secret may come, at the end of a word in any script."""
_LONGEST_PIECE: Final = 256
_PIECE: Final = re.compile(
    r"[\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af]{1,64}"
    r"|[^\s\0\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af]{1,256}"
)
_NEXT_WORD: Final = re.compile(
    r"[ \t]{1,2}(?P<word>[^\s'\"=<>{}\[\]():|,;&-][^\s'\"=<>{}\[\]():|]*)(?=\s|$|[,;])"
)
_LOGIN: Final = re.compile(r"(?i)(?:log(?:in|on)|auth|authentication|authenticate|sasl)$")
# A user and more: admin/S3cr3t, admin : S3cr3t, (admin, S3cr3t).
_PAIR: Final = re.compile(
    r"(?:(?<![\w/.:@-])[\w.@-]{1,32}(?:[:/]|[ ][:/][ ])|\([\w.@-]{1,32},[ ]?)"
    r"(?P<secret>[^\s/:,;()\[\]'\"`=]{5,64})(?=[\s,;:)\].'\"]|$)"
)
_NOT_BLANK: Final = re.compile(r"\S*")
_IS: Final = re.compile(r"[ ](?:is|was)(?=[ ])")
_NAMES: Final = re.compile(r"[\w.-]{2,64}")
_SIGNS: Final = re.compile(r"[!$%^*+~=?\\|]")
_ASSIGNED: Final = re.compile(r"[\w.-]{1,64}=")
_ASIDE: Final = re.compile(r"(?:[.,;)\]}]+|s?\(s\))(?:\s|$)")
"""The end of a name's mention: ``username, password, and more``."""
_CALLED: Final = re.compile(r"""\((?P<secret>"[^"]*"|'[^']*'|[^()\n]{1,256})(?:\)|$)""")
_ID: Final = re.compile(r"[ ](?P<id>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\b")
_HEX: Final = re.compile(r"[0-9a-f]{32}")
"""A project's id."""
_LONG_NAME: Final = 20
"""Characters that no name of a user or a host has, mostly."""
# A header of a table with a secret's name in it, and the rows below.
_LINE: Final = r"(?:\n|\\{1,7}n)"
_TABLE: Final = re.compile(
    rf"""(?x)
    (?: [|] (?: [ \t]* [\w.-]+ (?: [ ] [\w.-]+ )? [ \t]* [|] ){{2,16}} [ \t]*
      | ^ (?: [\w.-]+ (?: , [\w.-]+ ){{1,16}}
        | [\w.-]+ (?: (?: [ ]{{2,40}} | \t{{1,8}} ) [\w.-]+ ){{1,16}} [ ]{{0,40}} ) )
    {_LINE} (?P<rows> [^\n] )""",
    re.MULTILINE,
)
_PAIR_ROW: Final = re.compile(rf"[ \t]*[|][^|\n\\]{{1,200}}[|][ \t]*{_LINE}")
"""The text behind a name in a table with a name and its value in each row."""
_ROWS: Final = re.compile(r"[^\n]+(?:\n[^\n]+){0,64}")
_WIDEST: Final = 256
"""Characters of a table's header on both sides of the name."""

Span = tuple[int, int]


def secrets_in(text: str, marks: Sequence[re.Match[str]], room: int) -> tuple[list[Span], int]:
    """Beginnings and ends of secrets in a text, and the place up to which it was read.

    Args:
        text: the text, `names.folded`.
        marks: where there may be names in it, in the order of their places.
        room: characters that will be shown of it, secrets masked: no more is read.
    """
    reading = _Reading(text, marks, room)
    return list(reading.secrets()), reading.end


class _Manner(NamedTuple):
    """Uses of a name that is followed by words."""

    is_password: bool
    is_token: bool
    is_about: bool
    is_unspoken: bool
    is_function: bool


@functools.lru_cache(maxsize=2048)
def _manner_of(name: str) -> _Manner:
    return _Manner(
        is_password=_PASSWORD.search(name) is not None,
        is_token="token" in name.lower(),
        is_about=says_about(name),
        is_unspoken=_UNSPOKEN.fullmatch(name) is not None,
        is_function=_FUNCTION.fullmatch(name) is not None,
    )


class _Name(NamedTuple):
    """A name in a text that promises a secret, or may."""

    text: str
    begin: int
    end: int
    is_option: bool = False


class _Talk:
    """The words since a secret's name, as far as they decide what may come next."""

    __slots__ = ("_changes", "_is_apart", "_is_of_another", "_last", "direct")

    def __init__(self, direct: bool, *, changes: bool = False) -> None:
        self._changes = changes
        """True if the secret is being set: ``to`` leads to it then."""
        self.direct = direct
        """True if the secret may be the next word."""
        self._is_of_another = False
        """True if the next word is the name of something else."""
        self._is_apart = False
        """True if a clause has ended since."""
        self._last = ""

    def names_another(self, word: str) -> bool:
        """True if ``word`` is the name of a user, a host or a volume."""
        if not self._is_of_another or _SIGNS.search(word):
            return False
        if len(word) >= _LONG_NAME and not _HEX.fullmatch(word):
            return False
        return ":" not in word or prose.kind_of(word, direct=False) is not Kind.OPAQUE

    def goes_on(self, word: str, ended: str, kind: Kind) -> None:
        """Read a word, with this character behind it."""
        lower = word.lower()
        self._is_of_another = lower in prose.SUBJECTS and ended not in ".,;"
        self.direct = not self._is_of_another and (
            (kind is Kind.OPAQUE and ended not in ".,;")  # a passphrase, maybe
            or (ended in "=:" and kind is Kind.PLAIN and word.isalpha() and not self._is_apart)
            or lower in prose.CONNECTORS
            or (lower in ("to", "as") and (self._changes or self._last in prose.CHANGES))
        )
        self._is_apart = self._is_apart or ended in ".,;"
        self._last = lower

    def goes_on_with_name(self, word: str, ended: str) -> None:
        """Read the name of something else."""
        self._is_of_another = word.lower() in prose.SUBJECTS
        self.direct = ended in "=:" and not self._is_of_another

    def goes_on_with_sign(self, ended: str) -> None:
        """Read a sign, or words of another script."""
        self.direct = self.direct or ended in _SAYS
        self._is_of_another = self._is_of_another and not self.direct

    def turns(self) -> None:
        """Read something after which no secret follows."""
        self.direct = self._is_of_another = False


class _Reading:
    """One walk over a text, from name to name."""

    def __init__(self, text: str, marks: Sequence[re.Match[str]], room: int) -> None:
        self.end = min(room, len(text))
        """The place up to which it reads: masking makes room for more."""
        self._text = text
        self._marks = marks
        self._next = 0
        """Index of the next mark."""
        self._at = 0
        self._masked = 0
        """End of the last secret."""
        self._line = (0, -1)
        """A place, and where its line ends."""

    def secrets(self) -> Iterator[Span]:
        for begin, end in self._secrets():
            self._masked = end
            self.end = min(max(self.end, end) + end - begin, len(self._text))
            yield begin, end

    def _secrets(self) -> Iterator[Span]:
        while mark := self._mark():
            name = self._name_at(mark)
            self._at = name.end
            if not promises_secret(name.text):
                yield from self._weak(name)
            elif rows := self._rows(name):
                self._at = rows[1]
                yield rows
            elif behind := self._behind(name):
                yield from self._valued(name, behind)
            else:
                yield from self._spoken(name)

    def _behind(self, name: _Name) -> re.Match[str] | None:
        """The text from a name to its value. The name may have another word: ``Secret Key:``."""
        if name.is_option:
            return values.AFTER_OPTION.match(self._text, name.end)
        second = _SECOND_NAME.match(self._text, name.end)
        return values.AFTER.match(self._text, second.end() if second else name.end)

    def _mark(self) -> re.Match[str] | None:
        """The next mark that has not been passed."""
        while self._next < len(self._marks):
            mark = self._marks[self._next]
            if mark.start() >= self.end:
                break
            if mark.start() >= self._at:
                return mark
            self._next += 1
        return None

    def _line_end(self, at: int) -> int:
        if not self._line[0] <= at <= self._line[1]:
            end = self._text.find("\n", at)
            self._line = (at, end if end >= 0 else len(self._text))
        return self._line[1]

    # Names

    def _name_at(self, mark: re.Match[str]) -> _Name:
        """The name that has a mark in it; two words, where one alone says little."""
        text = self._text
        if _UNSPACED.match(text, mark.start()):
            return _Name(mark[0], mark.start(), mark.end())
        begin = _begin(text, mark.start(), max(self._masked, self._at))
        known = mark.start() + len(mark[0].rstrip("=:\"'"))
        end = _NAME_REST.match(text, known).end()  # type: ignore[union-attr]
        end = max(known, begin + len(text[begin:end].rstrip(".-")))
        name = text[begin:end]
        lower = name.lower()
        if lower == "pass" and (second := _SECOND_WORD.match(text, end)):
            return _Name(name + second[0].strip(), begin, second.end())
        if lower in _SECONDS and text[begin - 1 : begin] in (" ", "-"):
            before = _WORD_BEFORE.search(text, max(self._masked, begin - 18), begin - 1)
            if before and promises_secret(f"{before[0]}_{lower}"):
                return _Name(f"{before[0]}_{lower}", before.start(), end)
        return _Name(name, begin, end, text[begin - 1 : begin] == "-")

    def _rows(self, name: _Name) -> Span | None:
        """The rows of the table that has ``name`` in its header."""
        line = self._text.find("\n", name.end, name.end + _WIDEST)
        if line < 0 and "\\n" not in self._text[name.end : name.end + _WIDEST]:
            return None
        begin = max(self._text.rfind("\n", 0, name.begin) + 1, name.begin - _WIDEST, self._masked)
        table = _TABLE.search(self._text, begin, name.end + _WIDEST)
        if not table or not table.start() <= name.begin < table.start("rows"):
            return None
        if _PAIR_ROW.match(self._text, name.end):
            return None
        rows = _ROWS.match(self._text, table.start("rows"))
        return rows.span() if rows else None

    # Values

    def _weak(self, name: _Name) -> Iterator[Span]:
        """The value behind a name that may be a secret's, if it looks like one."""
        if not may_promise(name.text):
            yield from self._login(name)
            return
        text = self._text
        behind = values.AFTER.match(text, name.end)
        if behind is None:
            word = _NEXT_WORD.match(text, name.end)
            if word and prose.is_mixed(word["word"]):
                yield self._passed(word.span("word"))
            else:
                yield from self._login(name)
            return
        begin = behind.end()
        value = values.KEY.match(text, begin)
        if name.text.lower() == "auth" and text[begin : begin + 1] in ("{", "(", "["):
            yield self._passed((begin, values.end_of(text, begin, name.text)))
        elif value and values.is_key(name.text, value["secret"]) and not behind["pair"]:
            yield self._passed(value.span())

    def _login(self, name: _Name) -> Iterator[Span]:
        """A password behind its user, in a message about a login: ``failed for admin/S3cr3t``."""
        if not _LOGIN.search(name.text):
            return
        end = min(self._line_end(name.end), name.end + 160)
        for pair in _PAIR.finditer(self._text, name.end, end):
            if (
                prose.is_opaque(pair["secret"].strip(prose.PUNCTUATION))
                and pair.start("secret") >= self._at
            ):
                yield self._passed(pair.span("secret"))

    def _passed(self, secret: Span) -> Span:
        self._at = secret[1]
        return secret

    def _valued(self, name: _Name, behind: re.Match[str]) -> Iterator[Span]:
        """The value behind ``name=``; behind ``name: `` there may be words about it as well."""
        text = self._text
        begin = behind.end()
        is_open = not behind["quote"] and _leads_on(behind) and not _OPENING.match(text, begin)
        if is_open and ":" in behind[0] and not values.is_header(name.text):
            talk = self._talk(name, begin)
            if talk is not None:
                self._at = begin
                yield from self._told(talk)
                return
        end = values.end_of(text, begin, name.text)
        if "|" in behind[0]:
            cell = text.find("|", begin, self._line_end(begin))
            end = max(end, begin + len(text[begin:cell].rstrip())) if cell >= 0 else end
        if behind["pair"] and text[end : end + 1] == ":":
            return  # 'CHAP', 'auth_username': its neighbour is the next name
        value = text[begin:end].strip("\\\"'`")
        if values.is_nothing(value) or (says_about(name.text) and not prose.is_secret(value)):
            return
        yield self._passed((begin, self._with_more(end) if is_open else end))

    def _with_more(self, end: int) -> int:
        """The end of a value that may have blanks in it: before the next plain word."""
        while more := _NEXT_WORD.match(self._text, end):
            word = more["word"].strip(prose.PUNCTUATION)
            if word != "/" and (not word or prose.kind_of(word, direct=True) is Kind.PLAIN):
                break
            end = more.end("word")
        return end

    def _talk(self, name: _Name, begin: int) -> _Talk | None:
        """The state after the words behind ``name:``; None if a value follows at once."""
        words = self._text[begin : min(self._line_end(begin), begin + 256)].split(None, 2)
        if not words:
            return None
        first = words[0].strip(prose.PUNCTUATION)
        if first.lower() in _SCHEMES or words[0][0] in "!|>":
            return None  # a scheme, or a tag of YAML's, and then the value
        before = self._text[max(0, name.begin - 128) : name.begin]
        if before[-1:] == " " and _FAILURE.search(before) and not _WITH.search(before):
            return None if prose.is_opaque(first) else _Talk(direct=False)
        if len(words) > 1 and (prose.is_spoken(first) or _ASSIGNED.match(first)):
            return _Talk(direct=False)
        if _manner_of(name.text).is_function and prose.is_spoken(first):
            return _Talk(direct=True)
        return None

    # Secrets in prose

    def _spoken(self, name: _Name) -> Iterator[Span]:
        """The secret in words that follow a name."""
        text = self._text
        while text[self._at : self._at + 1] in _QUOTES:
            self._at += 1  # the text around the name itself
        manner = _manner_of(name.text)
        if name.text in _VERBS:
            word = _NEXT_WORD.match(text, self._at)
            if word and prose.kind_of(word["word"], direct=True) is Kind.OPAQUE:
                yield self._passed(word.span("word"))
            return
        if text[self._at : self._at + 1] == "(" and not manner.is_function:
            call = _CALLED.match(text, self._at)
            if call and _is_quoted_secret(call["secret"], direct=True):
                yield self._passed(call.span("secret"))
        elif manner.is_password and (value := _STRONG.match(text, self._at)):
            yield self._passed(value.span("secret"))
            yield from self._told(_Talk(direct=False))
        elif manner.is_about or _ASIDE.match(text, self._at):
            yield from self._told(_Talk(direct=False))
        elif manner.is_unspoken:
            word = _NEXT_WORD.match(text, self._behind_is())
            if word and prose.is_opaque(word["word"].strip(prose.PUNCTUATION)):
                yield self._passed(word.span("word"))
        elif manner.is_token and (match := _ID.match(text, self._at)):
            yield self._passed(match.span("id"))
        else:
            before = text[max(0, name.begin - 32) : name.begin]
            yield from self._told(_Talk(direct=True, changes=_CHANGE.search(before) is not None))

    def _behind_is(self) -> int:
        match = _IS.match(self._text, self._at)
        return match.end() if match else self._at

    def _told(self, talk: _Talk) -> Iterator[Span]:
        """Secrets among the words to the end of the line, or to the next name."""
        line = self._line_end(self._at)
        while self._at < self.end and (piece := _PIECE.search(self._text, self._at, line)):
            if self._is_name(piece, talk):
                self._at = piece.start()
                return
            self._at = piece.end()
            secret = self._told_by(piece, line, talk)
            if secret is not None:
                yield secret
                self._at = max(self._at, secret[1])

    def _told_by(self, piece: re.Match[str], line: int, talk: _Talk) -> Span | None:
        """The secret that begins with this piece, if one does."""
        begin, text = piece.start(), piece[0]
        quote = text.lstrip("([{<")[:1]
        if quote in _QUOTES:
            begin += text.index(quote)
            return self._quoted(begin, line, talk)
        word, ended = text.strip(prose.PUNCTUATION), text[-1]
        if not word or _UNSPACED.match(word):
            talk.goes_on_with_sign(ended)
        elif _ASSIGNED.match(word):
            talk.turns()
        elif talk.names_another(word):
            talk.goes_on_with_name(word, ended)
        else:
            kind = prose.kind_of(word, direct=talk.direct)
            begin += text.index(word)
            if kind is Kind.UNKNOWN and talk.direct:
                return begin, line
            talk.goes_on(word, ended, kind)
            if kind is Kind.OPAQUE:
                end = begin + len(word)
                return begin, end if len(text) < _LONGEST_PIECE else _to_blank(self._text, end)
        return None

    def _quoted(self, begin: int, line: int, talk: _Talk) -> Span | None:
        """The quoted text if it is the secret; to the end of the line if no quote closes it."""
        closing = self._text.find(self._text[begin], begin + 1, line)
        end = closing + 1 if closing >= 0 else line
        quoted = self._text[begin + 1 : closing if closing >= 0 else line]
        self._at = end
        is_secret = _is_quoted_secret(quoted, direct=talk.direct)
        talk.turns()
        return (begin, end) if is_secret else None

    def _is_name(self, piece: re.Match[str], talk: _Talk) -> bool:
        """True if a piece contains another name, at which to go on."""
        begin, end = piece.span()
        mark = self._mark()
        if mark is None or mark.start() >= end:
            return False
        if _UNSPACED.match(mark[0]):
            return True
        named = [match for match in _NAMES.finditer(piece[0]) if promises_secret(match[0])]
        word = piece[0].strip(prose.PUNCTUATION)
        if not named or prose.is_spoken(word) or _UNSPACED.match(word):
            return bool(named)
        # A secret may look like the name of one: what follows it tells.
        if any(values.AFTER.match(self._text, begin + match.end()) for match in named):
            return True
        if word != named[-1][0] or word[-1].isdigit():
            return False
        return not talk.direct or (word.isalpha() and word[1:].islower())


def _leads_on(behind: re.Match[str]) -> bool:
    """True if a value with blanks may follow: behind ``: ``, not in ``a=b c=d``."""
    lead = behind[0].rstrip()
    return lead.endswith((":", ">", "=")) and (bool(behind["blank"]) or not lead.endswith("="))


def _is_quoted_secret(quoted: str, *, direct: bool) -> bool:
    """True if the quoted text behind the name of a secret is one."""
    words = (part.strip(prose.PUNCTUATION) for part in quoted[:256].split())
    kinds = [prose.kind_of(word, direct=direct) for word in words if word]
    return bool(kinds) and max(kinds) >= (Kind.UNKNOWN if direct else Kind.OPAQUE)


def _to_blank(text: str, at: int) -> int:
    return _NOT_BLANK.match(text, at).end()  # type: ignore[union-attr]


def _begin(text: str, mark: int, done: int) -> int:
    """The beginning of the name that has a mark in it."""
    begin = mark
    done = max(done, mark - names.LIMIT)
    while begin > done and _is_of_name(text[begin - 1]):
        begin -= 1
    while begin < mark and text[begin] in ".-":
        begin += 1
    return begin


def _is_of_name(character: str) -> bool:
    if character > "\u058f" and _UNSPACED.match(character):
        return False
    return character.isalnum() or character in "_.-"
