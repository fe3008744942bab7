"""The configuration's secret options."""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

from otel_cinder import redaction

_NEXT_HOST: Final = re.compile(r"@[^@,/\s]*,")
"""Splits a URL of several hosts: ``rabbit://a:first@one:5672,b:second@two:5672//``."""

_NUMBER: Final = re.compile(r"-?\d{1,12}(?:\.\d{1,12})?")
"""Options whose values are too common to be masked everywhere: token_cache_time."""

_UUID: Final = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_PATH: Final = re.compile(r"(?:/[\w.-]+){2,}/?")


def secret_options(conf: Any) -> set[str]:
    """The secrets that the configuration holds, each backend's too.

    Taken from the options that are registered as secret, and from what the files say under a name
    that promises one: a backend's options are registered by the volume service alone, and by no
    service before it has loaded the driver.
    """
    secrets: set[str] = set()
    with contextlib.suppress(Exception):  # another release's insides
        for value in _registered_secrets(conf):
            secrets.update(_secrets_in(value, True))
    with contextlib.suppress(Exception):
        for name, value in _written_options(conf):
            if name.endswith("_uuid") and _UUID.fullmatch(value):
                continue  # of a secret that is kept elsewhere
            parts = _secrets_in(value, redaction.keeps_secret(name, value))
            secrets.update(part for part in parts if "://" in value or not _NUMBER.fullmatch(part))
    return secrets


def _registered_secrets(conf: Any) -> Iterator[Any]:
    namespaces = {
        mutable: _without_warnings(getattr(conf, attribute, None))
        for mutable, attribute in ((False, "_namespace"), (True, "_mutable_ns"))
    }
    groups = {None: conf._opts, **{group: group._opts for group in conf._groups.values()}}
    for group, options in groups.items():
        for name, registered in list(options.items()):
            option = registered["opt"]
            if getattr(option, "secret", False):
                namespace = namespaces[bool(option.mutable)] or namespaces[False]
                with contextlib.suppress(Exception):  # nothing has been read yet
                    with _reported(option):
                        # Not conf[group][name]: what that has read once, Cinder gets from a cache,
                        # and so without the warning.
                        value, _ = conf._do_get(name, group, namespace)
                    yield value


class _Everything(frozenset[Any]):
    """Has all that it is asked for."""

    def __contains__(self, _item: object) -> bool:
        return True


def _without_warnings(namespace: Any) -> Any:
    """A copy of oslo.config's ``namespace`` that takes all deprecations for reported.

    They are reported once a process: ours would take Cinder's, before there is a log.
    """
    if namespace is not None:
        namespace = copy.copy(namespace)
        namespace._emitted_deprecations = _Everything()
    return namespace


@contextlib.contextmanager
def _reported(option: Any) -> Iterator[None]:
    """Take ``option``'s own deprecation for reported, for so long."""
    before = option._logged_deprecation
    option._logged_deprecation = True
    try:
        yield
    finally:
        option._logged_deprecation = before


def _written_options(conf: Any) -> Iterator[tuple[str, str]]:
    for sections in getattr(conf._namespace, "_parsed", ()):
        for options in sections.values():
            for name, values in options.items():
                for value in values:
                    yield name, str(value).replace("$$", "$")


def _secrets_in(value: Any, is_secret: bool) -> Iterator[str]:
    """A secret word, the passwords of a URL, or by their names the parts of a structure."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _secrets_in(part, redaction.promises_secret(str(name)))
    elif isinstance(value, (list, tuple, set)):
        for part in value:
            yield from _secrets_in(part, is_secret)
    elif isinstance(value, str):
        if "://" in value:
            yield from _passwords_in(value)
        elif not is_secret:  # replication_device = backend_id:one,san_password:…
            for name, _, part in (pair.partition(":") for pair in value.split(",")):
                if part and redaction.promises_secret(name):
                    yield part
        elif not _PATH.fullmatch(value):
            yield value


def _passwords_in(url: str) -> Iterator[str]:
    """The passwords of a URL, as written and decoded; they may have any sign in them.

    One that is too short to be masked everywhere is known behind its user: ``admin/1234``.
    """
    logins, at, _ = url.partition("://")[2].rpartition("@")
    for login in _NEXT_HOST.split(logins) if at else ():
        user, _, password = login.partition(":")
        for spelling in dict.fromkeys((password, unquote(password))):
            if redaction.can_be_known(spelling):
                yield spelling
            elif spelling and user:
                yield from (f"{user}:{spelling}", f"{user}/{spelling}")
