"""Secrets in spellings that are put together at random, from parts that no pattern was made from.

A name (a role, what it is, how the words are joined), what leads from it to its value, a quotation,
what stands around, a language, an encoding: each drawn by a seed, so that a rate can be measured that
means something for texts that no rule foresees.
"""

from __future__ import annotations

import ast
import html
import importlib.util
import json
import random
import re
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote


class Spelling(NamedTuple):
    """A text with a secret in it, and what it was made of."""

    said: str
    secret: str
    parts: tuple[str, ...]


_ROLES = (
    *(
        "san",
        "array",
        "unity",
        "svc",
        "mgmt",
        "peer",
        "replica",
        "target",
        "initiator",
        "ldap",
        "smtp",
    ),
    *(
        "proxy",
        "backup",
        "vendor",
        "cli",
        "rest",
        "gateway",
        "console",
        "ups",
        "fabric",
        "zone",
        "old",
    ),
    *("my", "x", "default", "tmp", "second", "remote", "local", "disk", "pool", "tenant", "svm"),
)
_KINDS = (
    *(
        "password",
        "passwd",
        "pwd",
        "pass",
        "passphrase",
        "secret",
        "token",
        "api key",
        "access key",
    ),
    *("credential", "shared secret", "auth token", "session token", "private key", "chap secret"),
    *(
        "pass phrase",
        "login password",
        "secret key",
        "bearer token",
        "encryption key",
        "snmp community",
    ),
)
_FOREIGN = (
    *(
        "密码",
        "登录密码",
        "口令",
        "密钥",
        "访问密钥",
        "令牌",
        "パスワード",
        "トークン",
        "비밀번호",
        "пароль",
    ),
    *(
        "токен",
        "Passwort",
        "Kennwort",
        "mot de passe",
        "contraseña",
        "senha",
        "hasło",
        "wachtwoord",
    ),
)
_JOINTS: dict[str, Callable[[list[str]], str]] = {
    "snake": "_".join,
    "kebab": "-".join,
    "dotted": ".".join,
    "constant": lambda words: "_".join(words).upper(),
    "camel": lambda words: words[0] + "".join(map(str.capitalize, words[1:])),
    "pascal": lambda words: "".join(map(str.capitalize, words)),
    "spoken": " ".join,
    "title": lambda words: " ".join(words).title(),
    "joined": "".join,
}
_LEADS = (
    "=",
    "= ",
    " = ",
    ":",
    ": ",
    " : ",
    " => ",
    ":=",
    " := ",
    "==",
    " -> ",
    " is ",
    " was ",
    "：",
    " ",
)
_QUOTES = (("", ""), ("'", "'"), ('"', '"'), ("`", "`"), ("“", "”"), ('\\"', '\\"'), ("'''", "'''"))
_AROUND = (
    "{}",
    "ERROR cinder.volume.manager [req-1 admin]: {}",
    "login failed ({}), giving up",
    "Bad response from 10.0.0.1: {}; retrying",
    "[{}]",
    "calling array with host=10.0.0.5, {}, size=3",
    "{} at line 7\nin cinder.conf",
    "volume volume-7 is in error\n  {}\n",
    'stderr: "{}"',
    "登录失败：{}",
)
_CONTAINERS: dict[str, Callable[[str, str], str]] = {
    "JSON": lambda name, secret: json.dumps({"id": 7, name: secret, "size": 1}),
    "JSON, not in ASCII": lambda name, secret: json.dumps({name: secret}, ensure_ascii=False),
    "dictionary": lambda name, secret: str({"id": 7, name: secret, "size": 1}),
    "deep dictionary": lambda name, secret: str({"data": [{name: secret}], "size": 1}),
    "pairs": lambda name, secret: str([("Host", "a"), (name, secret)]),
    "element": lambda name, secret: f"<a><{_tag(name)}>{html.escape(secret)}</{_tag(name)}></a>",
    "attribute": lambda name, secret: f'<login user="a" {_tag(name)}="{html.escape(secret)}"/>',
    "property": lambda name, secret: f'<property name="{name}">{html.escape(secret)}</property>',
    "query": lambda name, secret: f"GET /api?id=7&{quote(name)}={quote(secret, safe='')}&v=2",
    "header": lambda name, secret: f"> X-{_tag(name)}: {secret}\r\n> Accept: */*",
    "option": lambda name, secret: f"tool --{_tag(name)} '{secret}' --size 3",
    "option with =": lambda name, secret: f"tool --{_tag(name)}={secret} --size 3",
    "shell": lambda name, secret: f"export {_tag(name)}='{secret}'; lvs",
    "YAML": lambda name, secret: f"auth:\n  {name}: {secret}\n  size: 1",
    "INI": lambda name, secret: f"[backend]\n{name} = {secret}\nsize = 1",
    "row": lambda name, secret: f"| {name}  | {secret} |",
    "named value": lambda name, secret: json.dumps([{"name": name, "value": secret}]),
    "repr of an object": lambda name, secret: f"<Login(user='a', {_tag(name)}='{secret}')>",
}
_ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "repr": lambda text: f"failed: {text!r}",
    "bytes": lambda text: f"body: {text.encode()!r}",
    "JSON": lambda text: json.dumps({"message": text}),
    "XML": lambda text: f"<m>{html.escape(text)}</m>",
    "list": lambda text: str(["sh", "-c", text]),
}


def _tag(name: str) -> str:
    return re.sub(r"\s", "_", name)


def _secret(source: random.Random) -> tuple[str, str]:
    letters, digits = string.ascii_letters, string.digits
    kind = source.choice(("mixed", "mixed", "hex", "signs", "words", "lower", "digits", "base64"))
    alphabet, size = {
        "mixed": (letters + digits, (8, 32)),
        "hex": ("0123456789abcdef", (24, 40)),
        "signs": (letters + digits + "!#%+-_.~^*", (10, 20)),
        "lower": (string.ascii_lowercase, (9, 14)),
        "digits": (digits, (8, 12)),
        "base64": (letters + digits + "+/", (20, 40)),
        "words": (string.ascii_lowercase, (5, 8)),
    }[kind]

    def word() -> str:
        return "".join(source.choices(alphabet, k=source.randint(*size)))

    if kind == "words":
        return kind, " ".join(word() for _ in range(3))
    drawn = word()
    return kind, drawn + ("==" if kind == "base64" else "")


def spellings(seed: int, count: int) -> Iterator[Spelling]:
    """So many texts with a secret in each."""
    source = random.Random(seed)
    own = option_names()
    for _ in range(count):
        kind, secret = _secret(source)
        joint = source.choice(list(_JOINTS))
        words = [source.choice(_ROLES), *source.choice(_KINDS).split()]
        name = _JOINTS[joint](words if source.random() < 0.8 else words[1:])
        language = source.random()
        if language < 0.2:
            joint, name = "foreign", source.choice(_FOREIGN)
        elif language < 0.35 and own:
            joint, name = "option", source.choice(own)
        if source.random() < 0.5:
            container = source.choice(list(_CONTAINERS))
            text = _CONTAINERS[container](name, secret)
        else:
            lead, (opening, closing) = source.choice(_LEADS), source.choice(_QUOTES)
            container = f"{lead!r} {opening!r}"
            text = f"{name}{lead}{opening}{secret}{closing}"
            text = source.choice(_AROUND).format(text)
        encoding = source.choice(["plain"] * 3 + list(_ENCODINGS))
        text = _ENCODINGS[encoding](text)
        yield Spelling(text, secret, (kind, joint, container, encoding))


def option_names() -> list[str]:
    """How Cinder's own drivers call their secrets: the options that are registered as secret."""
    found = {
        call.args[0].value
        for call in _calls("cinder")
        if isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
        and any(
            word.arg == "secret"
            and isinstance(word.value, ast.Constant)
            and word.value.value is True
            for word in call.keywords
        )
    }
    # Of those that name a file, a user or an URL, a part is the secret at most.
    return sorted(name for name in found if not name.endswith(_NO_SECRETS))


_NO_SECRETS = ("_file", "_url", "_login", "_user", "login", "connection", "_device", "_id")


def _calls(package: str) -> Iterator[ast.Call]:
    for path in modules(package):
        text = path.read_text(errors="replace")
        if "secret=True" in text:
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and node.args:
                    yield node


def modules(package: str) -> Iterator[Path]:
    """The files of an installed package, without its tests."""
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield from (path for path in sorted(Path(place).rglob("*.py")) if "tests" not in path.parts)


# What is said of secrets, and has none in it.
_STATES = (
    *(
        "is invalid",
        "has expired",
        "was not found",
        "is required",
        "must not be empty",
        "is missing",
    ),
    *("could not be validated", "does not match", "was changed", "is too short", "was revoked"),
    *("cannot be decoded", "is not supported by {}", "for {} was rejected", "of {} has changed"),
)
_THINGS = (
    *(
        "volume {id}",
        "host node-{n}",
        "backend lvm-{n}",
        "user admin",
        "project {id}",
        "pool pool{n}",
    ),
    *(
        "server 10.0.0.{n}",
        "LUN {n}",
        "snapshot snapshot-{id}",
        "target iqn.2010-10.org.openstack:{n}",
    ),
)


def mentions(seed: int, count: int) -> Iterator[str]:
    """So many sentences about secrets, with nothing secret in them."""
    source = random.Random(seed)
    for _ in range(count):
        name = source.choice(("The ", "", "Invalid ", "Error: ")) + source.choice(_KINDS)
        thing = source.choice(_THINGS).format(
            id=f"{source.getrandbits(32):08x}-1111-4222-8333-444455556666",
            n=source.randint(1, 99),
        )
        text = f"{name} {source.choice(_STATES).format(thing)}"
        yield text + source.choice(
            ("", ".", f" ({thing})", f" while attaching {thing}", "; retrying")
        )
