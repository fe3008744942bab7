"""The .pth file at interpreter start."""

from __future__ import annotations

import pathlib

import pytest

from tests.unit import scripts
from tests.unit.sdk import needs_typing_extensions

LINE = (pathlib.Path(scripts.ROOT) / "otel_cinder.pth").read_text().strip()


def switched(value: str) -> str:
    """Set the variable in the script itself, and run the line as site would.

    Not in the environment: the installed .pth would have run before the script begins.
    """
    return f"import os; os.environ['OTEL_CINDER_ENABLED'] = {value!r}\nexec({LINE!r})"


ON = switched("true")

QUIET = "import warnings; warnings.simplefilter('ignore')"

HEAVY = (
    "grpc",
    "opentelemetry.sdk",
    "opentelemetry.trace",
    "oslo_context",
    "requests",
    "ssl",
    "taskflow",
    "urllib3",
    "wrapt",
)


def test_line_is_one_that_site_executes() -> None:
    """Python's site executes lines that begin with `import`, and only one at a time."""
    assert "\n" not in LINE
    assert LINE.startswith("import ")


@pytest.mark.parametrize("value", [None, "", "0", "false", "No", " OFF "])
def test_switched_off_imports_nothing(value: str | None) -> None:
    """Without the variable, or with a word for no, otel_cinder is not even imported."""
    ran = scripts.run(
        f"exec({LINE!r})" if value is None else switched(value),
        "import sys, json; print(json.dumps([n for n in sys.modules if n.startswith('otel')]))",
    )
    assert ran.said == []
    assert ran.stderr == ""


def test_switched_on_imports_nothing_that_eventlet_patches() -> None:
    """Activation alone leaves requests, urllib3, ssl and oslo_context out of sys.modules."""
    ran = scripts.run(
        ON,
        f"import sys, json; print(json.dumps([n for n in {HEAVY!r} if n in sys.modules]))",
    )
    assert ran.said == []


@pytest.mark.parametrize("module", ["taskflow.engines", "oslo_messaging", "oslo_service.wsgi"])
def test_first_library_of_cinders_instruments(module: str) -> None:
    """As soon as one of the libraries that Cinder is made of is imported, the seams are on."""
    ran = scripts.run(
        "import warnings; warnings.simplefilter('ignore')",
        ON,
        f"""
        import json, sys
        import {module}
        from otel_cinder.instrumentor import CinderInstrumentor
        first = CinderInstrumentor().is_instrumented_by_opentelemetry
        import taskflow.engines.action_engine.engine
        states = {{row.target: row.state for row in CinderInstrumentor().status()}}
        print(json.dumps([first, states["taskflow.engines.action_engine.engine:ActionEngine.run"],
                          "ssl" in sys.modules]))
        """,
    )
    assert ran.said[:2] == [True, "on"]


def test_activation_before_eventlet_patches() -> None:
    """The line, then monkey_patch, then the libraries: as in Cinder, with everything patched."""
    ran = scripts.run(
        ON,
        scripts.EVENTLET,
        """
        import json, ssl, threading
        import taskflow.engines, oslo_messaging
        from eventlet import patcher
        from otel_cinder.instrumentor import CinderInstrumentor
        print(json.dumps([
            CinderInstrumentor().is_instrumented_by_opentelemetry,
            patcher.is_monkey_patched("socket"), ssl.SSLSocket.__module__,
            threading.current_thread.__module__]))
        """,
    )
    on, patched, tls, _ = ran.said
    assert (on, patched, tls) == (True, True, "eventlet.green.ssl")
    assert "RLock" not in ran.stderr


@pytest.mark.parametrize("value", ["otel_cinder", "*", "flask, otel_cinder ,x"])
def test_standard_variable_switches_it_off(value: str) -> None:
    """OTEL_PYTHON_DISABLED_INSTRUMENTATIONS with our name, or all, wins."""
    ran = scripts.run(
        "import warnings; warnings.simplefilter('ignore')",
        ON,
        """
        import sys, json, taskflow.engines
        print(json.dumps("otel_cinder.instrumentor" in sys.modules))
        """,
        env={"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": value},
    )
    assert ran.said is False


def test_others_switched_off_leave_it_on() -> None:
    """OTEL_PYTHON_DISABLED_INSTRUMENTATIONS with other names changes nothing."""
    ran = scripts.run(
        "import warnings; warnings.simplefilter('ignore')",
        ON,
        """
        import json, taskflow.engines
        from otel_cinder.instrumentor import CinderInstrumentor
        print(json.dumps(CinderInstrumentor().is_instrumented_by_opentelemetry))
        """,
        env={"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "flask,requests"},
    )
    assert ran.said is True


def test_bad_value_is_warned_of() -> None:
    """A value that is neither yes nor no means off, with one line on stderr."""
    ran = scripts.run(
        "import warnings; warnings.simplefilter('ignore')",
        switched("treu"),
        "import sys, json, taskflow.engines; print(json.dumps('otel_cinder.instrumentor' in sys.modules))",
    )
    assert ran.said is False
    assert ran.stderr.strip() == (
        "Set OTEL_CINDER_ENABLED to true or false: 'treu' is neither, so it counts as false."
    )


def with_variables(**variables: str) -> str:
    """Set these in the script itself, and run the line: see `switched`."""
    return f"import os; os.environ.update({variables!r})\nexec({LINE!r})"


SERVICE = """
import sys, taskflow.engines
from oslo_config import cfg
from oslo_log import log
conf = cfg.ConfigOpts()
log.register_options(conf)
conf([])
was = log.setup
log.setup(conf, "cinder")
print(int(was is log.setup), int("otel_cinder.instrumentor" in sys.modules))
"""
"""Imports as a service does: its libraries, then its log, on stdout here."""


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"OTEL_CINDER_ENABLE": "1"},
            (
                "Correct the name of OTEL_CINDER_ENABLE, probably to OTEL_CINDER_ENABLED: "
                "otel-cinder has no such setting, so it has no effect. Tracing is off: set "
                "OTEL_CINDER_ENABLED=true to switch it on."
            ),
        ),
        (
            {"OTEL_CINDER_ENABLED": "true", "OTEL_CINDER_LOGLEVEL": "DEBUG"},
            (
                "Correct the name of OTEL_CINDER_LOGLEVEL, probably to OTEL_CINDER_LOG_LEVEL: "
                "otel-cinder has no such setting, so it has no effect."
            ),
        ),
        (
            {"OTEL_CINDER_ENABLED": "treu"},
            "Set OTEL_CINDER_ENABLED to true or false: 'treu' is neither, so it counts as false.",
        ),
        (
            {
                "OTEL_CINDER_ENABLED": "true",
                "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "flask,otel_cinder",
            },
            (
                "otel-cinder stays off because "
                "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=flask,otel_cinder."
            ),
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_errors_are_in_the_log(variables: dict[str, str], said: str) -> None:
    """Once the service has a log, it has one line of that, and nothing went to stderr before."""
    ran = scripts.run(QUIET, with_variables(**variables), SERVICE)
    lines = [line for line in ran.stdout.splitlines() if " otel_cinder [" in line]
    assert [line.partition("[-] ")[2] for line in lines] == [said]
    assert ran.stderr == ""


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_CINDER_ENABLED": "false", "OTEL_CINDER_LOGLEVEL": "DEBUG"},
        {"OTEL_CINDER_ENABLED": "", "OTEL_CINDER_LOGLEVEL": "DEBUG"},
        {"OTEL_CINDER_LOG_LEVEL": "DEBUG"},
        {},
    ],
    ids=",".join,
)
def test_switched_off_is_silent(variables: dict[str, str]) -> None:
    """With tracing off, or with correct settings, nothing is logged."""
    ran = scripts.run(QUIET, with_variables(**variables), SERVICE)
    assert ran.stdout.splitlines() == ["1 0"]
    assert ran.stderr == ""


@pytest.mark.parametrize(
    "variables", [{"OTEL_CINDER_ENABLE": "1"}, {"OTEL_CINDER_ENABLED": "treu"}]
)
def test_other_programs_hear_nothing(variables: dict[str, str]) -> None:
    """Other programs than Cinder's write nothing, because their callers may read stderr."""
    ran = scripts.run(with_variables(**variables), "import json, logging; print('1')")
    assert (ran.stdout, ran.stderr) == ("1\n", "")


@pytest.mark.parametrize(
    "broken",
    [
        "opentelemetry.instrumentation.instrumentor",
        "otel_cinder.instrumentor",
        "otel_cinder.settings",
        "otel_cinder.notices",
    ],
)
def test_broken_installation_never_raises(broken: str) -> None:
    """If a dependency is missing, Cinder starts untraced, and one sentence says why."""
    ran = scripts.run(
        f"""
        import warnings; warnings.simplefilter("ignore")
        import sys
        sys.modules[{broken!r}] = None
        """,
        ON,
        "import taskflow.engines, oslo_messaging; print('\"alive\"')",
    )
    assert ran.said == "alive"
    lines = [line for line in ran.stderr.splitlines() if line.startswith("otel-cinder")]
    assert len(lines) == 1
    assert lines[0].startswith("otel-cinder stays off because it could not start (")
    assert lines[0].endswith("Is it installed in the same virtualenv, with its dependencies?")


@needs_typing_extensions
def test_package_that_is_too_old_is_reported() -> None:
    """With the typing-extensions of Debian 12, it is that which is named, and where to look."""
    ran = scripts.run(
        QUIET,
        "import typing_extensions; del typing_extensions.deprecated  # came with 4.5",
        ON,
        "import taskflow.engines, oslo_messaging; print('1')",
    )
    assert ran.said == 1
    (line,) = ran.stderr.splitlines()
    assert line.endswith(
        "The installed typing_extensions does not fit: for this OpenStack release, install what "
        "https://github.com/otel-cinder/otel-cinder/tree/main/requirements lists."
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "-1"), ("OTEL_PROPAGATORS", "unheard-of")],
)
def test_setting_that_the_sdk_refuses_is_reported(variable: str, value: str) -> None:
    """If a setting breaks OpenTelemetry's import, Cinder starts, and its log names the setting."""
    ran = scripts.run(
        "import warnings; warnings.simplefilter('ignore')",
        ON,
        "import taskflow.engines, oslo_messaging; print('\"alive\"')",
        env={variable: value},
    )
    assert ran.said == "alive"
    (line,) = ran.stderr.splitlines()
    assert line.startswith("otel-cinder stays off because it could not start (ValueError: ")
    # The SDK names it in its own sentence; that of the oldest is broken.
    assert value in line or "manual field specification" in line
    assert line.endswith(
        "Correct the OTEL_* variable that this names; if it names none, please report it."
    )


def test_activating_twice_is_once() -> None:
    """The line may be run twice: editable and wheel installations side by side."""
    ran = scripts.run(
        "import warnings; warnings.simplefilter('ignore')",
        ON,
        ON,
        """
        import json, sys, taskflow.engines, oslo_messaging
        from otel_cinder.instrumentor import CinderInstrumentor
        rows = [row.target for row in CinderInstrumentor().status()]
        print(json.dumps(len(rows) == len(set(rows))))
        """,
    )
    assert ran.said is True


def test_instrument_by_hand_before_the_hooks() -> None:
    """The .pth and an early instrument() in code (or opentelemetry-instrument) get along."""
    ran = scripts.run(
        "import warnings; warnings.simplefilter('ignore')",
        ON,
        "import otel_cinder; otel_cinder.instrument(); import oslo_service.wsgi; print('1')",
    )
    assert ran.said == 1


def test_installed_line_warns_once() -> None:
    """The .pth of the installed wheel reports an error once, also if site reads it twice."""
    ran = scripts.run(
        f"{QUIET}; import sys, taskflow.engines; print(int('otel_cinder.activation' in sys.modules))",
        env={"OTEL_CINDER_ENABLED": "treu"},
    )
    if not ran.said:
        pytest.skip("no otel_cinder.pth is installed here")
    assert len(ran.stderr.splitlines()) == 1


def test_installed_line_instruments() -> None:
    """The .pth of the installed wheel alone leads to instrument()."""
    ran = scripts.run(
        """
        import sys, warnings; warnings.simplefilter("ignore")
        import json
        if "otel_cinder.activation" not in sys.modules:
            print(json.dumps("not installed")); raise SystemExit
        import taskflow.engines
        from otel_cinder.instrumentor import CinderInstrumentor
        print(json.dumps(CinderInstrumentor().is_instrumented_by_opentelemetry))
        """,
        env={"OTEL_CINDER_ENABLED": "true"},
    )
    if ran.said == "not installed":
        pytest.skip("no otel_cinder.pth is installed here")
    assert ran.said is True
