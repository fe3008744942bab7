"""Messages from before logging is set up."""

from __future__ import annotations

import pytest

from tests.unit import scripts

OSLO = """
import warnings; warnings.simplefilter("ignore")
from oslo_config import cfg
from oslo_log import log
conf = cfg.ConfigOpts()
log.register_options(conf)
conf([])
"""


def test_notice_is_logged_at_once_if_there_is_a_log(caplog: pytest.LogCaptureFixture) -> None:
    """With a handler on the root logger nothing waits."""
    from otel_cinder import notices

    notices.warn("%s is odd", "X")
    assert caplog.messages == ["X is odd"]


@pytest.mark.parametrize("imported", [True, False], ids=["before", "after"])
def test_notice_waits_for_oslo_log(imported: bool) -> None:
    """Notices are logged once, in order, after oslo.log's setup; then setup is unpatched."""
    begin = "from otel_cinder import notices; notices.warn('a'); notices.warn('b')"
    ran = scripts.run(
        *((OSLO, begin) if imported else (begin, OSLO)),
        """
        log.setup(conf, "cinder")
        assert log.setup.__module__ == "oslo_log.log" and not hasattr(log.setup, "__wrapped__")
        log.setup(conf, "cinder")
        """,
    )
    assert [line[-1] for line in ran.stdout.splitlines()] == ["a", "b"]
    assert ran.stderr == ""


def test_notice_is_printed_at_the_end_without_a_log() -> None:
    """A process that ends without a log writes its notices to stderr."""
    ran = scripts.run("from otel_cinder import notices; notices.warn('a'); print('1')")
    assert (ran.stdout, ran.stderr) == ("1\n", "a\n")


def test_setup_that_raises_is_the_hosts() -> None:
    """Errors of oslo.log's setup reach the host, and the notice still waits."""
    ran = scripts.run(
        "from otel_cinder import notices; notices.warn('a')",
        OSLO,
        """
        try:
            log.setup(None, "cinder")
        except AttributeError:
            print("raised", flush=True)
        log.setup(conf, "cinder")
        """,
    )
    first, second = ran.stdout.splitlines()
    assert (first, second[-1]) == ("raised", "a")


def test_setup_is_put_back_for_who_waits_no_longer() -> None:
    """`stop_waiting` leaves oslo.log as it was found, and somebody else's patch of it alone."""
    ran = scripts.run(
        OSLO,
        """
        from otel_cinder import notices
        original = log.setup
        notices.warn("a")
        assert log.setup is not original
        notices.stop_waiting()
        assert log.setup is original
        notices.tell()
        notices.warn("b")
        theirs = log.setup = lambda *args, ours=log.setup: ours(*args)
        log.setup(conf, "cinder")
        assert log.setup is theirs
        print("1")
        """,
    )
    assert ran.stderr == "a\n"
    assert [line[-1] for line in ran.stdout.splitlines()] == ["b", "1"]
