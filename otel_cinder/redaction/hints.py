"""Finds the places in a text where a secret may be. Every text is searched, so it must be fast."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from otel_cinder.redaction import names, places

_RARE: Final = "qzxj/(<-wkybvgfhmpu_dlcrsnoiate7: "
"""Characters of texts, the rarest first; others are rarer still."""


def _from_rarest(word: str) -> str:
    """The rest of ``word`` from its rarest character on; no less than three."""
    begins = range(max(1, len(word) - 2))
    return word[min(begins, key=lambda begin: _RARE.find(word[begin])) :]


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds the end of each of these words.

    It fails fast in a text without them: it looks for the rarest character of each word, and then
    compares the rest: ``k(?:en(?<=token)|ie(?<=cookie))``.
    """
    return re.compile(_branches((_from_rarest(word), word) for word in words))


def _branches(rests: Iterable[tuple[str, str]]) -> str:
    """A pattern of the rests of words, each with what makes sure that the whole word is there."""
    forms: list[str] = []
    further: dict[str, list[tuple[str, str]]] = {}
    for rest, word in rests:
        if rest:
            further.setdefault(rest[0], []).append((rest[1:], word))
        else:
            forms.append(f"(?<={re.escape(word)})")
    forms += (f"{re.escape(first)}(?:{_branches(more)})" for first, more in further.items())
    return "|".join(forms)


# What each name that promises a secret has in it, in lower case; and the path of a login.
_OF_NAMES: Final = """
    pass pwd pasw pssw psw paasw pwrd pword secret token cred auth cookie chap key hmac signature
    mnemonic connectioninfo connection_info userdata user_data configdrive config_drive suffix
    fsid kek dek unseal jwt psk otp pin sas sig pw session sess_id sessid csrf xsrf community code
    sid= sid: sid" sid' ticket nonce salt= salt: salt" salt' seed challenge dsn apitok authtok webhook
    nthash nt_hash lmhash private unlock opaque pem: pem= 2fa response securestr
    kennwort geheim zugang anmeldedaten contrase senha clave chave parola heslo haslo jeton mdp segredo
    segreto wachtwoord toegangscode losenord adgangskode salasana jelszo sifre lozink geslo sandi khau
    login logon signin sign-in sso/ hook /reset/ /invite /verify/ sasl ntlm
    """.split()
_FOREIGN: Final = (
    *names.FOREIGN,
    *("contraseñ", "hasło", "lösenord", "jelszó", "şifre", "clé ", "clé_", "schlüssel", "secrèt"),
)
_ASCII_HINT: Final = _any_of([*_OF_NAMES, *places.TOOLS, *places.LEADS])
_ANY_HINT: Final = _any_of([*_OF_NAMES, *places.TOOLS, *places.LEADS, *_FOREIGN])


def _found_in(words: Iterable[str]) -> frozenset[str]:
    return frozenset(hint[0] for word in words for hint in _ANY_HINT.finditer(word))


OF_TOOLS: Final = _found_in(places.TOOLS)
"""Hints, as they are found, at a command or what is written like one."""
OF_SHAPES: Final = _found_in(places.LEADS)
"""Hints at a token or a key of a known shape."""
_OF_BOTH: Final = [
    tool
    for tool in (*places.TOOLS, *places.LEADS)
    if any(name in tool for name in (*_OF_NAMES, "bearer"))
]
OF_NAMES: Final = _found_in([*_OF_NAMES, *_FOREIGN, *_OF_BOTH])
"""Hints at the name of a secret."""


def hints_in(lower: str) -> list[re.Match[str]]:
    """The hints at secrets in a text (in lower case, `names.folded`); mostly none."""
    hint = _ASCII_HINT if lower.isascii() else _ANY_HINT
    return list(hint.finditer(lower))
