"""Recognizes names that promise a secret, in any spelling and in many languages.

A name is taken apart first, so that ``sanPassword2``, ``SAN-PASSWORD`` and ``san.password`` are one:
``san password 2``. Then its words are held against what names of secrets are made of.
"""

from __future__ import annotations

import functools
import re
import string
import unicodedata
from typing import Final

LIMIT: Final = 256
"""Characters of a name that are looked at, from its end, which says what it is the name of."""

_PIECES: Final = """
    password passwd pwrd pwd passphra passcode passkey secret token credential authorization
    authorisation cookie hmac keyring keytab signature mnemonic bearer connectioninfo providerauth
    userdata configdrive hashsuffix clusterfsid cryptokek sessionid sessid sessionkey jsession phpsess
    csrf xsrf soapsession presharedkey sharedaccess unseal basicauth securityanswer securestring
    seedphrase communitystring communityname authuser pwhash passhash nthash lmhash ntlmhash authdata
    authinfo authstring authblob authheader authresponse
    passwort passord passfras kennwort geheim zugangsdaten zugangscode zugangsschl anmeldedaten
    motdepasse contrasen credencia senha segredo segreto wachtwoord toegangscode losenord adgangskode
    salasana jelszo sifre lozink geslo haslo hasło katasandi palavrapasse parolachiave palabraclave
    matkhau
    """.split()
"""Promise a secret anywhere in a name, as one word or as two."""

_PASSWORDS: Final = re.compile(r"pa{0,2}s{1,3}w\w{0,4}d")
"""Short and misspelt forms of password: ``psswrd``."""

_WORDS: Final = frozenset(
    "jwt psk dek kek mkek otp totp hotp sas keypass storepass creds cred 2fa passw pword pasw mdp jeton"
    " clave chave parola heslo passe tok apitok authtok rootpwd pwds wpapsk".split()
)
"""Promise a secret as a word of their own."""

_LAST: Final = frozenset({"pass", "pw", "psw", "sig", "pin"})
"""Promise a secret as the last word, and at its end: ``dbpass``, ``bindpw``."""

_PASSES: Final = ("bypass", "compass", "trespass", "overpass", "surpass", "underpass", "impass")

_LACKING: Final = ("passwordless", "tokenless", "secretless")

_KEYS: Final = frozenset(
    "api access private priv encrypted encryption auth authentication host shared fernet ssl ssh tls rndc"
    " heartbeat fixed account customer ceph master sign signing storage unlock license licence activation"
    " registration service admin crypto cipher wep wpa luks session symmetric security radius tacacs bgp"
    " ospf tsig webhook deploy bootstrap join consumer subscription app application integration recovery"
    " vault transit wrapping wrapped root chap dhchap client server psk rsa dsa ecdsa ed25519 aes gpg pgp"
    " kms login user management rest ingest dkim ssl pre data stream object volume_encryption hash enc"
    " cle schlussel clef".split()
)
"""A ``key`` behind these is a secret."""

_KEY_ENDS: Final = (
    *(
        "api",
        "access",
        "private",
        "encryption",
        "auth",
        "shared",
        "ssl",
        "ssh",
        "rndc",
        "heartbeat",
    ),
    *("account", "service", "master", "signing", "storage"),
)

_CODES: Final = frozenset(
    "pin verification verify recovery backup activation unlock security access auth authentication"
    " authorization mfa fa 2fa factor confirmation reset time device invite login sms pairing otp".split()
)
"""A ``code`` behind these is a secret."""

_EMPTY: Final = frozenset({"value", "val", "number"})
"""Last words that say nothing more of what is named."""

_COMMUNITIES: Final = frozenset("snmp ro rw read write trap snmpv1 snmpv2 snmpv2c".split())

_MATERIAL: Final = frozenset("material content contents pem seed blob b64".split())

_MAYBE: Final = frozenset(
    "auth authentication community session sid ticket nonce salt seed challenge dsn private pem webhook unlock opaque sleutel chiave klucz cle clef schlussel identifiants ключ response".split()
)
"""Last words of names whose value has to look like a secret to be one."""

_HARMLESS_KEYS: Final = frozenset(
    "routing binding public primary foreign cache sort partition monkey turkey hotkey keyboard".split()
)

_ABOUT: Final = frozenset(
    "type types length len size count counts time times ttl timeout timeouts expiry expires expire expired"
    " expiration age lifetime interval retries retry limit max min minimum maximum url uri urls endpoint"
    " path paths file files filename dir directory location status state enable enabled disabled required"
    " policy policies algorithm algorithms algo alg method methods mode modes version versions manager"
    " managers provider providers driver drivers backend backends class plugin plugins format strategy"
    " scope scopes bits rounds rotation renewal cache caching check checks validation verify prompt"
    " complexity strength change changed update updated create created at on date timestamp day days hours"
    " minutes seconds bytes index issuer audience store service support supported capable"
    " verification flag field protocol domain host port name user username interface"
    " network region group bucket".split()
)
"""Last words of names that describe a secret: its size, its place, its age."""

FOREIGN: Final = (
    *"""
    密码 密碼 密钥 密鑰 密鍵 口令 秘钥 金钥 金鑰 令牌 权杖 凭证 憑證 憑証 凭据 憑據 私钥 私鑰 秘密 授权码 验证码 驗證碼
    动态码 校验码 通行码 通行碼 团体字 团体名 パスワード パスフレーズ パスコード 暗証番号 暗号鍵 トークン シークレット
    認証情報 資格情報 アクセスキー 秘密鍵 비밀번호 비번 암호 패스워드 토큰 시크릿 비밀키 개인키 액세스키 접근키 자격증명
    รหัสผ่าน โทเค็น पासवर्ड סיסמה סיסמת گذرواژه парол токен секрет лозинк κωδικ συνθηματικ
    """.split(),
    *(
        "비밀 키",
        "개인 키",
        "액세스 키",
        "접근 키",
        "자격 증명",
        "كلمة المرور",
        "كلمة السر",
        "رمز عبور",
    ),
    *("ключ доступа", "ключа доступа", "ключ шифрования", "ключ api", "mật khẩu"),
)
"""Names, or how they begin, that are not written in Latin letters, in lower case."""

_SEAM: Final = re.compile(
    r"[\s._/:-]+|(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d_]{2})(?=\d)"
)
"""The joints between the words of a name."""

# Full-width forms and typographic marks -> the plain character.
_FOLDED: Final = {
    **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)},
    **dict.fromkeys(map(ord, "\u3000\u00a0\u2009\u202f"), " "),
    **dict.fromkeys(map(ord, "“”„‟«»「」『』《》〈〉【】"), '"'),
    **dict.fromkeys(map(ord, "‘’‚‛‹›"), "'"),
    **dict.fromkeys(map(ord, "≔≕∶꞉"), ":"),
    **dict.fromkeys(map(ord, "→⇒➔➜⟶"), ">"),
    **dict.fromkeys(map(ord, "–—―‐‑"), "-"),
    ord("。"): ".",
    ord("、"): ",",
}
_LOWER: Final = {ord(upper): upper.lower() for upper in string.ascii_uppercase}


def folded(text: str) -> str:
    """``text``, as long as it was, with the usual characters for those that only look different."""
    return text if text.isascii() else text.translate(_FOLDED)


def lowered(text: str) -> str:
    """``text`` in lower case, as long as it was."""
    lower = text.lower()  # which makes two characters of some
    return lower if len(lower) == len(text) else text.translate(_LOWER)


def promises_secret(name: str) -> bool:
    """True if every value of this name is a secret, whatever its shape."""
    return _promise(name[-LIMIT:]) == 2


def may_promise(name: str) -> bool:
    """True if a value of this name is a secret, at least if it looks like one."""
    return _promise(name[-LIMIT:]) >= 1


@functools.lru_cache(maxsize=2048)
def says_about(name: str) -> bool:
    """True if ``name`` describes a secret: ``token_type``, ``password_length``."""
    words = _words(name[-LIMIT:])
    return len(words) > 1 and words[-1] in _ABOUT


@functools.lru_cache(maxsize=2048)
def _promise(name: str) -> int:
    """2 for a name that promises a secret, 1 for one that may, 0 for any other."""
    words = _words(name)
    if "less" in name:
        words = [word for word in words if not word.endswith(_LACKING)] or [""]
    while len(words) > 1 and (words[-1].isdecimal() or words[-1] in _EMPTY):
        words.pop()
    whole = "".join(words)
    if (
        any(piece in whole for piece in _PIECES)
        or _PASSWORDS.search(whole)
        or not _WORDS.isdisjoint(words)
        or any(map(_is_chap, words))
        or _ends_in_pass(words[-1])
        or ("community" in words and not _COMMUNITIES.isdisjoint(words))
        or any(_opens(words, place) for place in range(len(words)))
        or (not name.isascii() and any(word in lowered(folded(name)) for word in FOREIGN))
    ):
        return 2
    is_key = words[-1].endswith(("key", "keys")) and not _HARMLESS_KEYS.intersection(words[-2:])
    return 1 if is_key or words[-1] in _MAYBE else 0


def _words(name: str) -> list[str]:
    if not name.isascii():  # clé is cle, and ş is s
        parts = unicodedata.normalize("NFKD", name)
        name = "".join(part for part in parts if not unicodedata.combining(part))
    return _SEAM.sub(" ", name).lower().split() or [""]


def _is_chap(word: str) -> bool:
    return "chap" in word and "chapter" not in word and "chapel" not in word


def _ends_in_pass(word: str) -> bool:
    if word in _LAST:
        return True
    return word.endswith(("pw", "pass", "community")) and not word.endswith(_PASSES)


def _opens(words: list[str], place: int) -> bool:
    """True if the word at ``place`` is a secret key or code, or a key's material."""
    word = words[place].removesuffix("s")
    before = words[place - 1] if place else ""
    if word.endswith("key"):
        kind = word[:-3] or before
        if kind in _KEYS or kind.endswith(_KEY_ENDS) or "ceph" in kind or "ceph" in words[:place]:
            return True
        return place + 1 < len(words) and words[place + 1] in _MATERIAL
    return word.endswith("code") and (word[:-4] or before) in _CODES
