"""The command line's face: its help, and how it fails."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from otel_cinder import __version__
from otel_cinder.cli.commands import cli
from otel_cinder.cli.demo import cinder_conf
from tests.click_runner import runner
from tests.receiver import Receiver


def invoke(*arguments: str) -> tuple[int, str, str]:
    """Run a command that ends before anything is started: status, output, error output."""
    result = runner().invoke(cli, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_it_says_its_version() -> None:
    """--version is the package's."""
    assert invoke("--version") == (0, f"otel-cinder, version {__version__}\n", "")


def test_help_lists_the_demo() -> None:
    """The help leads a new user to the demo."""
    status, output, _ = invoke("--help")
    assert status == 0
    assert "demo" in output


def test_without_its_extra_it_names_the_package() -> None:
    """With click and rich away, one sentence and exit status 2."""
    code = (
        "import sys; sys.modules['click'] = None\n"
        "from otel_cinder.cli import main; sys.argv = ['otel-cinder']; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr == (
        "otel-cinder: the command line needs click and rich: pip install click rich\n"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--endpoint", "collector:4318"], "--endpoint must be a URL such as"),
        (["--endpoint", "http://127.0.0.1:port"], "--endpoint must be a URL such as"),
        (["--endpoint", "http://127.0.0.1:1"], "cannot connect to --endpoint"),
        (
            ["--pipeline", "--endpoint", "http://127.0.0.1:1"],
            "no collector listens at http://127.0.0.1:1: start the pipeline with `make up`",
        ),
        (["--jaeger", "http://127.0.0.1:1"], "--jaeger and --grafana need --pipeline"),
        (["--grafana", "http://127.0.0.1:1"], "--jaeger and --grafana need --pipeline"),
        (["--transport-url", "amqp://localhost"], "--transport-url must look like rabbit://"),
        (["--transport-url", "rabbit://host:port/"], "--transport-url must look like rabbit://"),
        (["--transport-url", "rabbit://127.0.0.1:1/"], "cannot reach the broker"),
        (["--spans", "/nowhere/spans.jsonl"], "cannot write /nowhere/spans.jsonl"),
        (["--svg", "/"], "cannot write /"),
    ],
)
def test_impossible_options_are_refused_in_one_sentence(
    arguments: list[str], sentence: str
) -> None:
    """Wrong options end with status 2 and one line, before anything is started."""
    status, output, error = invoke("demo", *arguments)
    assert (status, output) == (2, "")
    assert error.startswith(f"otel-cinder: {sentence}")
    assert error.count("\n") == 1


def test_a_port_in_use_is_reported_in_one_sentence() -> None:
    """A taken port is found out before Cinder is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, error = invoke("demo", "--port", str(port))
    assert status == 2
    assert error == f"otel-cinder: cannot listen on port {port}: address already in use\n"


@pytest.mark.parametrize(
    ("jaeger", "sentence"),
    [
        ("http://127.0.0.1:1", "no Jaeger answers at http://127.0.0.1:1: start the pipeline with"),
        ("127.0.0.1:16686", "no Jaeger answers at 127.0.0.1:16686: start the pipeline with"),
        (None, "set --jaeger to Jaeger's address: something else answers at {}"),
    ],
    ids=["nothing", "no URL", "something else"],
)
def test_a_pipeline_without_jaeger_is_reported_in_one_sentence(
    jaeger: str | None, sentence: str
) -> None:
    """A collector alone is no pipeline, and that is found out before Cinder is started."""
    with Receiver() as collector:
        url = jaeger or collector.endpoint
        status, _, error = invoke(
            "demo", "--pipeline", "--endpoint", collector.endpoint, "--jaeger", url
        )
    assert status == 2
    assert error.startswith(f"otel-cinder: {sentence.format(url)}")
    assert error.count("\n") == 1


def test_the_callers_settings_do_not_reach_the_demo() -> None:
    """OTEL_* and oslo.config's variables are left out; the demo's own and the rest are in."""
    caller = {
        "OTEL_SDK_DISABLED": "true",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://elsewhere",
        "OTEL_CINDER_ENABLED": "false",
        "OS_DEFAULT__TRANSPORT_URL": "rabbit://production",
        "OS_CINDER_DISABLE_EVENTLET_PATCHING": "1",
        "NO_PROXY": "example.org",
        "HOME": "/root",
    }
    environment = cinder_conf.environment(caller, "http://127.0.0.1:4318")
    assert environment == {
        "HOME": "/root",
        "NO_PROXY": "example.org,127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_CINDER_ENABLED": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "PYTHONUNBUFFERED": "1",
    }


def test_a_url_with_a_dollar_survives_the_configuration(tmp_path: Path) -> None:
    """A password with a $ is written so that oslo.config reads it back as it was."""
    from oslo_config import cfg

    url = "rabbit://user:pa$word@127.0.0.1/"
    path = cinder_conf.write(tmp_path, transport_url=url, exchange="x", host="h", port=1)
    conf = cfg.ConfigOpts()
    conf.register_opt(cfg.StrOpt("transport_url"))
    conf(["--config-file", str(path)], default_config_dirs=[])
    assert conf.transport_url == url


def test_nothing_of_cinders_writes_beside_a_create(tmp_path: Path) -> None:
    """With the demo's configuration, Cinder's periodic tasks that use SQLite run at the start only."""
    path = cinder_conf.write(tmp_path, transport_url="fake://", exchange="x", host="h", port=1)
    code = (
        "import sys; from cinder import objects; from cinder.common import config\n"
        "from oslo_config import cfg; objects.register_all()\n"
        f"cfg.CONF(['--config-file', {str(path)!r}], project='cinder')\n"
        "from cinder.scheduler.manager import SchedulerManager\n"
        "print(*SchedulerManager._periodic_spacing.values(), cfg.CONF.report_interval)\n"
    )
    asked = [sys.executable, "-W", "ignore", "-c", code]
    spacings = subprocess.run(asked, check=True, text=True, capture_output=True).stdout.split()
    assert spacings
    assert [s for s in spacings if not 3600 <= float(s) <= 86400] == []
