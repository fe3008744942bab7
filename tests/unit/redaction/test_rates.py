"""Measures and bounds the rates at which masking misses secrets, and masks too much."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from otel_cinder.redaction import text
from tests.corpus import Planted, survives
from tests.spellings import mentions, modules, spellings

COUNT = 3000
LEAKS = 0.03
"""Most secrets that may get through; about 0.012 do."""
TOO_MUCH = 0.01
"""Most sentences about secrets that may be changed; none are."""
TEMPLATES = 0.003
"""Most of Cinder's own texts that may be changed; about 0.0011 are, most with a secret in them."""


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_few_generated_secrets_get_through(seed: int) -> None:
    """Of secrets in spellings drawn at random no more than so many get through.

    These texts were put together from other parts than the patterns: the rate is what to expect of
    a text that no rule foresees. It can be lowered, but never to zero.
    """
    left = [
        spelling
        for spelling in spellings(seed, COUNT)
        if survives(Planted("", spelling.secret, ""), text(spelling.said, 2048))
    ]
    print(f"{len(left)} of {COUNT} secrets got through ({len(left) / COUNT:.2%})")
    assert len(left) <= LEAKS * COUNT, left[:20]


def test_generated_secrets_can_get_through() -> None:
    """Without masking every one of them would."""
    assert all(
        survives(Planted("", spelling.secret, ""), spelling.said) for spelling in spellings(2, 200)
    )


@pytest.mark.parametrize("seed", [2, 3])
def test_sentences_about_secrets_stay(seed: int) -> None:
    """Messages about a secret that do not contain it stay readable."""
    changed = [mention for mention in mentions(seed, COUNT) if text(mention) != mention]
    print(f"{len(changed)} of {COUNT} sentences were changed ({len(changed) / COUNT:.2%})")
    assert len(changed) <= TOO_MUCH * COUNT, changed[:20]


@pytest.mark.parametrize("filled", ["x", "node-1@lvm#pool", "Connection refused"])
def test_texts_of_cinder_stay(filled: str) -> None:
    """Hardly any of the texts in Cinder's and os-brick's own source is changed.

    Each template of a log line and each message of an exception is filled with something harmless.
    """
    messages = {_filled(template, filled)[:512] for template in templates("cinder", "os_brick")}
    changed = sorted(each for each in messages if text(each) != each)
    print(f"{len(changed)} of {len(messages)} texts of Cinder were changed: {changed}")
    assert len(messages) > 9000
    assert len(changed) <= TEMPLATES * len(messages), changed


_PLACE = re.compile(
    r"%(?:\(\w+\))?[#0\- +]*(?:\*|\d+)?(?:\.(?:\*|\d+))?([diouxXeEfFgGcrsa%])|\{\w*(?:![rs])?\}"
)
_LEVELS = frozenset({"debug", "info", "warning", "error", "critical", "exception", "log"})


def _filled(template: str, filled: str) -> str:
    def fill(place: re.Match[str]) -> str:
        if place[1] == "%":
            return "%"
        return "7" if place[1] and place[1] in "diouxXeEfFgG" else filled

    return _PLACE.sub(fill, template)


def templates(*packages: str) -> Iterator[str]:
    """The messages that these packages log and raise, from their source."""
    for package in packages:
        for path in modules(package):
            for node in ast.walk(ast.parse(path.read_text(errors="replace"))):
                yield from _said_by(node)


def _said_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        words = [*node.exc.args, *(word.value for word in node.exc.keywords)]
        yield from (constant for constant in map(_constant, words) if constant and " " in constant)
    elif isinstance(node, ast.Assign):
        if {"message", "msg"} & {getattr(target, "id", "") for target in node.targets}:
            yield from filter(None, [_constant(node.value)])
    elif isinstance(node, ast.Call):
        function, arguments = node.func, node.args
        if isinstance(function, ast.Attribute) and function.attr in _LEVELS:
            if getattr(function.value, "id", "").lower().endswith("log"):
                arguments = arguments[1:] if function.attr == "log" else arguments
                yield from filter(None, map(_constant, arguments[:1]))
        elif isinstance(function, ast.Name) and function.id == "_":
            yield from filter(None, map(_constant, arguments[:1]))


def _constant(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return _constant(node.left)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _constant(node.left), _constant(node.right)
        return None if left is None or right is None else left + right
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_":
        return _constant(node.args[0])
    return None
