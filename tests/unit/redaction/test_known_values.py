"""Secrets known by value are masked anywhere, and harmless words never."""

from __future__ import annotations

import base64
import json
import os
import random
import string
import threading
import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from opentelemetry import context as otel_context
from opentelemetry.context import Context

from otel_cinder.redaction import known_values, text
from otel_cinder.redaction.known_values import (
    add_known_values,
    clear_known_values,
    with_known_values,
)

SECRET = "S3cr3t!/ \"x'\\y"
TOKEN = "gAAAAABn-token_of-one-request1234567890"


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    clear_known_values()
    yield
    clear_known_values()


@pytest.mark.parametrize(
    "said",
    [
        f"refused was {SECRET}: no",
        f"GET /ask/{quote(SECRET, safe='')} failed",
        f"sent {json.dumps([SECRET])}",
        f"sent {[SECRET]!r}",
        f"sent {base64.b64encode(f'{SECRET}'.encode()).decode()} in full",
        f"sent {base64.b64encode(f'a{SECRET}'.encode()).decode()} in full",
        f"sent {base64.b64encode(f'ab{SECRET}'.encode()).decode()} in full",
        SECRET,
    ],
)
def test_known_value_is_masked_in_every_form(said: str) -> None:
    """A learned secret is masked as it is, URL-encoded, escaped and in base64."""
    assert text(said) == said  # nothing else gives it away
    add_known_values([SECRET])
    masked = text(said)
    assert "***" in masked
    assert "S3cr3t" not in masked
    assert "S3cr3t" not in base64.b64decode(masked.split()[-1] + "===", validate=False).decode(
        errors="replace"
    )


@pytest.mark.parametrize(
    "harmless",
    ["admin", "True", "", "guest", "s3cr", "cinder", "password", "------", None, 7, b"bytes!!"],
)
def test_harmless_words_are_not_masked(harmless: object) -> None:
    """Short values, common words and values that are no text are never masked."""
    add_known_values([harmless])
    harmless_text = f"admin True guest s3cr cinder password ------ 7 {harmless}"
    assert text(harmless_text) == harmless_text


def test_words_and_numbers_are_masked_as_a_whole() -> None:
    """A secret that is a mere word or number is left alone within another."""
    add_known_values(["swordfish", "123456"])
    assert text("swordfish and 123456.") == "*** and ***."
    assert text("swordfishes 1234567 volume-x123456y") == "swordfishes 1234567 volume-x123456y"


def test_words_with_numbers_are_masked_as_a_whole() -> None:
    """A secret that looks like a name is masked alone, not as the beginning of other names."""
    add_known_values(["storage1", "volume-abcd", "S3cr3t-pw", "storage1-x"])
    harmless_text = "storage12 node_storage1 volume-abcdef mystorage1 storage1-xy_z9"
    assert text(harmless_text) == harmless_text.replace("storage1-xy", "***-xy")
    assert text("storage1, (volume-abcd) a/S3cr3t-pw.") == "***, (***) a/***."
    assert text(repr("user:\nstorage1\tS3cr3t-pw")) == "'user:\\n***\\t***'"
    assert text("u=admin%3Astorage1%26") == "u=admin:***&"


def test_secret_that_cannot_be_encoded_takes_no_other_with_it() -> None:
    """A byte that is no UTF-8 in one of the secrets leaves all of them masked."""
    add_known_values(["good-secret-1", "bad-\udcff-secret'x"])
    add_known_values(["other-secret-2"])
    assert text("good-secret-1 other-secret-2 bad-\udcff-secret'x") == "*** *** ***"
    token = otel_context.attach(with_known_values(Context(), "hidden-\udcff-secret'x"))
    try:
        assert text("was hidden-\udcff-secret'x") == "was ***"
    finally:
        otel_context.detach(token)


def test_long_secret_is_masked_to_its_end() -> None:
    """Of a secret that is longer than a pattern should be, nothing is left."""
    source = random.Random(7)
    secret = "".join(source.choices(string.ascii_letters + "+/\n", k=1700))
    add_known_values([secret])
    masked = text(f"key {secret} end")
    assert set(masked.removeprefix("key ").removesuffix(" end")) == {"*"}


def test_secret_at_the_cut_is_masked() -> None:
    """A huge text is cut before it is searched, and no half of a secret stays at the cut."""
    secret = "".join(random.Random(8).choices(string.ascii_letters, k=100))
    add_known_values([secret])
    for before in range(300, 520, 10):
        masked = text(
            "password=" + "y" * 450 + " " + "x" * (before - 450) + f" {secret} " * 30, 128
        )
        assert not any(secret[at : at + 8] in masked for at in range(92))


def test_number_of_known_values_is_bounded() -> None:
    """More than 256 secrets are not learned: the cost of each text grows with them."""
    add_known_values(f"{number:03}-secret" for number in range(1000))
    assert text("255-secret") == "***"
    assert text("256-secret") == "256-secret"


def test_values_added_at_once_are_all_known() -> None:
    """Threads that add secrets at the same time each find theirs masked."""
    names = [[f"{thread:02}-learned-{number:03}" for number in range(10)] for thread in range(16)]
    threads = [threading.Thread(target=add_known_values, args=(each,)) for each in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in names:
        assert text(" ".join(each)) == " ".join(["***"] * 10)


@pytest.mark.filterwarnings("ignore:Using fork:DeprecationWarning")
def test_known_values_survive_a_fork() -> None:
    """A forked child masks its parent's known values, and may add more."""
    add_known_values(["before-the-fork-1"])
    child = os.fork()
    if not child:
        add_known_values(["after-the-fork-2"])
        os._exit(0 if text("before-the-fork-1 after-the-fork-2") == "*** ***" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert text("after-the-fork-2") == "after-the-fork-2"


def test_hidden_secret_is_masked_in_its_context_only() -> None:
    """A request's token is masked in that request's texts, and in no other's."""
    context = with_known_values(Context(), TOKEN, None, "admin", 7)
    assert text(TOKEN.replace("gAAAA", "_")) == TOKEN.replace("gAAAA", "_")
    token = otel_context.attach(with_known_values(context, "another-one's-token"))
    try:
        assert text(f"token was {TOKEN}/another-one%27s-token") == "token was ***/***"
    finally:
        otel_context.detach(token)
    assert text("another-one's-token") == "another-one's-token"


@pytest.mark.parametrize("characters", ["a'\\%", "\\a", "é%", "a-=", "a"])
def test_hidden_secrets_of_any_kind_cost_little(characters: str) -> None:
    """Huge tokens, even of odd characters, are masked in little time."""
    sent = ["".join(random.Random(number).choices(characters, k=8000)) for number in range(5)]
    took = []
    for _ in range(5):
        begin = time.thread_time()
        context = with_known_values(Context(), *sent)
        took.append(time.thread_time() - begin)
    assert min(took) < 0.01
    token = otel_context.attach(context)
    try:
        assert set(text(f"{sent[3]}", 4096)) == {"*"}
    finally:
        otel_context.detach(token)


def test_ordinary_token_costs_nearly_nothing_to_hide() -> None:
    """A Fernet token, which comes with each request and message, is the same in every form but one."""
    fernet = "gAAAAAB" + "aB3-_x" * 30 + "=="
    took = []
    for _ in range(20):
        begin = time.thread_time()
        for _ in range(50):
            context = with_known_values(Context(), fernet)
        took.append((time.thread_time() - begin) / 50)
    assert min(took) < 30e-6
    token = otel_context.attach(context)
    try:
        assert text(f"?a={quote(fernet)}&b={fernet}", 2048) == "?a=******&b=******"
    finally:
        otel_context.detach(token)


def test_nothing_to_hide_changes_nothing() -> None:
    """A context without a token stays the same object."""
    context = Context()
    assert with_known_values(context, None, "", "short") is context


def test_without_known_values_nothing_is_searched() -> None:
    """As long as nothing is known, a text is only cut."""
    assert known_values.mask("abcdef", 3) == "abc"


def test_token_that_looks_like_an_id_is_masked() -> None:
    """Ids take a short way, and a token of their form does not go along."""
    token = "9d1a5f1e-93b0-4d3c-a2ae-1b6d6f1c2f11"
    assert text(token) == token
    attached = otel_context.attach(with_known_values(otel_context.get_current(), token))
    try:
        assert text(token) == "***"
    finally:
        otel_context.detach(attached)
    add_known_values([token])
    try:
        assert text(token) == "***"
    finally:
        clear_known_values()
