"""The list in `docs/handled-failures.md`, held against the source of the installed Cinder."""

import ast
from pathlib import Path

import pytest

from tests import handlers
from tests.handlers import DOCS, Place


def test_every_place_is_decided() -> None:
    """The docs explain every exception that the installed Cinder swallows."""
    decided = handlers.decided()
    undecided = [
        f"undecided: {place.module} {place.function} except {place.exceptions}, {count} times"
        for place, count in handlers.places(handlers.installed()).items()
        if count > decided.get(place, (0, ""))[0]
    ]
    assert undecided == [], f"decide these, in {DOCS.name}, and see that the trace agrees"


def test_nothing_is_decided_twice_or_otherwise() -> None:
    """Each place has one of the three decisions, which the page explains."""
    assert {decision for _, decision in handlers.decided().values()} == {
        "error",
        "beside",
        "nothing",
    }


def test_no_place_is_long_gone() -> None:
    """Places that the installed Cinder no longer has are marked as older releases'."""
    gone = handlers.decided().keys() - handlers.places(handlers.installed()).keys()
    text = DOCS.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    for place in gone:
        start = f"| `{place.function}` | `{place.exceptions}`"
        assert any(row.startswith(start) and "older releases" in row for row in rows), place


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("try: a()\nexcept A: pass", ["A"]),
        ("try: a()\nexcept (A, B): log()", ["(A, B)"]),
        ("try: a()\nexcept: pass", ["everything"]),
        ("try: a()\nexcept A: raise", []),
        ("try: a()\nexcept A: log(); raise B() from None", []),
        ("try: a()\nexcept A:\n  if x: raise\n  log()", ["A"]),
        ("try: a()\nexcept A:\n  if x: raise\n  else: raise B", []),
        ("try: a()\nexcept A:\n  return 1\n  raise B", ["A"]),
        ("try: a()\nexcept A:\n  with excutils.save_and_reraise_exception(): log()", []),
        (
            "try: a()\nexcept A:\n  with excutils.save_and_reraise_exception(reraise=x): log()",
            ["A"],
        ),
        (
            (
                "try: a()\nexcept A:\n"
                "  with excutils.save_and_reraise_exception() as c: c.reraise = False"
            ),
            ["A"],
        ),
        ("try: a()\nexcept A: quota_utils.process_reserve_over_quota(c)", []),
        ("try: a()\nfinally:\n  return", ["finally"]),
        ("with contextlib.suppress(A, B): a()", ["A, B"]),
        ("try:\n  a()\nexcept A:\n  try: b()\n  except B: pass\n  raise", ["B"]),
    ],
)
def test_swallowing_handlers(source: str, found: list[str]) -> None:
    """A handler that may go on is found, and one that always raises is not."""
    assert [each for _, each in handlers._within(ast.parse(source), ())] == found


def test_new_place_is_reported(tmp_path: Path) -> None:
    """A place that a newer Cinder brings, or one more of a kind, is found under its own name."""
    (tmp_path / "manager.py").write_text(
        "class CleanableManager:\n"
        "  def do_cleanup(self):\n"
        "    try: a()\n"
        "    except exception.NotFound: pass\n"
        "    try: a()\n"
        "    except exception.NotFound: pass\n"
    )
    place = Place("manager.py", "CleanableManager.do_cleanup", "exception.NotFound")
    assert handlers.places(tmp_path) == {place: 2}
    assert handlers.decided()[place] == (1, "nothing")
