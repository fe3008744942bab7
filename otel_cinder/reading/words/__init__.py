"""The words for the stages of an operation: one table per language, with the same keys in each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Words:
    """What is said in one language."""

    language: str
    tasks: Mapping[str, str]
    """By a task's class; by module and class where two flows have a class of the same name."""
    flows: Mapping[str, str]
    methods: Mapping[str, str]
    """By an RPC method: what is asked for."""
    requests: Mapping[str, str]
    """By HTTP method and route without its project, ids as ``*``: ``POST volumes``."""
    actions: Mapping[str, str]
    """By the action of a ``POST …/action`` request: ``os-extend``."""
    drivers: Mapping[str, str]
    """By a driver's method: what the driver does."""
    details: Mapping[str, str]
    """By an attribute that says what a stage is about: its label, in this order."""
    phrases: Mapping[str, str]
    """Parts of the notes and headings, with places for `str.format`."""
    sentences: Mapping[str, str]
    """What a command says of itself, mostly why it can't go on; with places too."""

    def say(self, phrase: str, /, **given: object) -> str:
        """One of `phrases`, its places filled."""
        return self.phrases[phrase].format_map(given)

    def sentence(self, name: str, /, **given: object) -> str:
        """One of `sentences`, its places filled."""
        return self.sentences[name].format_map(given)


def words(language: str = "en") -> Words:
    """The words of ``en`` or ``zh``; raises KeyError for another language."""
    from otel_cinder.reading.words import en, zh  # they build on `Words`

    return {"en": en.WORDS, "zh": zh.WORDS}[language]


def language_of(environment: Mapping[str, str] = os.environ) -> str:
    """The language of the locale: ``zh`` for a Chinese one, ``en`` for all others (POSIX)."""
    names = (environment.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return "zh" if next(filter(None, names), "").lower().startswith("zh") else "en"
