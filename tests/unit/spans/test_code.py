"""Functions as attributes of spans."""

from __future__ import annotations

import functools

import pytest

from otel_cinder.spans.code import code_attributes
from tests.unit.recording import place_of


def plain() -> None:
    """Do nothing."""


@functools.wraps(plain)
def wrapping() -> None:
    """Stand before another function."""


def wrapped_in_itself() -> None:
    """Break ``inspect.unwrap``."""


wrapped_in_itself.__wrapped__ = wrapped_in_itself  # type: ignore[attr-defined]


def test_a_function_has_a_name_a_file_and_a_line() -> None:
    """The line is that of its definition."""
    assert code_attributes("a.plain", plain) == {"code.function.name": "a.plain", **place_of(plain)}


def test_the_place_is_that_of_the_innermost_function() -> None:
    """Decorators do not do the work."""
    assert code_attributes("n", wrapping) == code_attributes("n", plain)


@pytest.mark.parametrize("function", [None, len, wrapped_in_itself, functools.partial(plain)])
def test_object_without_code_has_only_a_name(function: object) -> None:
    """Built-in functions and odd wrappers: no place, and no error."""
    assert code_attributes("n", function) == {"code.function.name": "n"}  # type: ignore[arg-type]
