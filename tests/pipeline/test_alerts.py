"""Prometheus' configuration and alerts, by its own tools and in a real region."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import grpc
import pytest
import yaml

from tests.boards import ROOT, alerts
from tests.integration.processes import free_port, server_binary, wait_until
from tests.pipeline.certificates import Authority, loopback
from tests.pipeline.otlp import Client, Sink, gauge, record, span
from tests.pipeline.programs import HTTP, Collector
from tests.pipeline.region import Region

FOLDER = ROOT / "prometheus"

# Selector's beginning -> why the region has no such series.
MAY_BE_MISSING = {
    'http_server_request_duration_seconds_count{http_request_method="POST", '
    'http_route=~".*/volumes", http_response_status_code=~"5.."}': "no request fails",
    'otel_sdk_processor_span_processed_total{error_type!=""}': "no queue overflows",
    'otel_sdk_exporter_span_exported_total{error_type!=""}': "every export succeeds",
    'otelcol_exporter_send_failed_spans{exporter!~"load_balancing/.*"}': "nothing is given up",
    'otelcol_exporter_send_failed_metric_points{exporter!~"load_balancing/.*"}': "nor is this",
    'otelcol_exporter_send_failed_log_records{exporter!~"load_balancing/.*"}': "nobody exports any",
    "otelcol_receiver_refused_log_records": "nobody exports any",
    "otelcol_receiver_failed_log_records": "nobody exports any",
    'otel_cinder_seams{otel_cinder_seam_state="skipped"}': "all fit Cinder 29",
}


def promtool(*words: str | Path, cwd: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    """Run promtool."""
    return subprocess.run(
        [server_binary("promtool", "prometheus"), *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.parametrize("targets", ["targets", "compose"])
@pytest.mark.parametrize("name", ["prometheus.yaml", "region.yaml"])
def test_the_configuration_is_valid(name: str, targets: str, tmp_path: Path) -> None:
    """promtool has nothing against it, its rules, certificates and targets."""
    shutil.copy(FOLDER / name, tmp_path)
    shutil.copy(FOLDER / "alerts.yaml", tmp_path)
    shutil.copytree(FOLDER / targets, tmp_path / "targets")
    certificates = Authority(tmp_path / "authority").issue("prometheus", "DNS:node", "clientAuth")
    shutil.copytree(certificates.folder, tmp_path / "tls")
    done = promtool("check", "config", name, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(alerts())} rules found" in done.stdout


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    """The alerts' own tests pass, and there is one that fires for each alert."""
    done = promtool("test", "rules", "alerts.test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    tested = (FOLDER / "alerts.test.yaml").read_text()
    for name in alerts():
        assert re.search(rf"alertname: {name}\n +exp_alerts:", tested), name
        assert re.search(rf"alertname: {name}}}", tested), f"{name} is never shown to be silent"


def test_an_alert_that_is_broken_is_found(tmp_path: Path) -> None:
    """The alerts' own tests fail where an alert says something else."""
    tests = yaml.safe_load((FOLDER / "alerts.test.yaml").read_text())
    tests["tests"] = [each for each in tests["tests"] if "target" in each["name"]]
    (tmp_path / "alerts.test.yaml").write_text(yaml.safe_dump(tests))
    rules = (FOLDER / "alerts.yaml").read_text()
    (tmp_path / "alerts.yaml").write_text(rules)
    assert promtool("test", "rules", "alerts.test.yaml", cwd=tmp_path).returncode == 0
    (tmp_path / "alerts.yaml").write_text(rules.replace("expr: up == 0", "expr: up == 1"))
    assert promtool("test", "rules", "alerts.test.yaml", cwd=tmp_path).returncode != 0


def test_prometheus_evaluates_every_alert(region: Region) -> None:
    """In a region no alert's expression is an error, and all have been evaluated."""

    def states() -> dict[str, str]:
        groups = HTTP.get(f"{region.prometheus.url}/api/v1/rules", timeout=30).json()["data"]
        return {
            rule["name"]: f"{rule['health']} {rule.get('lastError', '')}".strip()
            for group in groups["groups"]
            for rule in group["rules"]
        }

    wait_until(lambda: "unknown" not in states().values(), 60, "every alert to be evaluated")
    assert states() == dict.fromkeys(alerts(), "ok")


def test_every_alert_looks_at_series_that_there_are(region: Region) -> None:
    """The series that an alert selects exist, if the region makes them; else it would never fire."""
    missing = set()
    for expression in alerts().values():
        for selector in re.findall(
            r"\b[a-z_]+(?:\{[^}]*\}|(?=\[))|\botelcol_processor\w+|\bup\b(?= ==)", expression
        ):
            if not region.prometheus.query(f"last_over_time({selector}[1h])"):
                missing.add(selector)
    assert missing <= set(MAY_BE_MISSING)


def test_what_a_collector_loses_is_counted(tmp_path: Path) -> None:
    """Data without room in a queue is refused; data that the next hop will never accept is given up."""
    certificates = loopback(tmp_path)
    port = free_port()
    agent = Collector(
        "agent",
        tmp_path,
        certificates=certificates,
        GATEWAY_ENDPOINT=f"127.0.0.1:{port}",
        QUEUE_BYTES=524288,
    )
    client = Client(agent.otlp_grpc)
    gateway = Sink(certificates, port, takes=False)
    exports = (
        lambda text: client.send(span(os.urandom(16), text=text)),
        lambda text: client.export_metrics(gauge("load", {"text": text})),
        lambda text: client.export_logs(record(text)),
    )
    try:
        agent.start()
        for export in exports:
            with pytest.raises(grpc.RpcError):
                export("x" * 600_000)
        gateway.start()
        for export in exports:
            export("x")
        for what in ("spans", "metric_points", "log_records"):
            for name in ("otelcol_receiver_refused_", "otelcol_exporter_send_failed_"):
                wait_until(lambda name=name + what: agent.count(name) == 1, 60, name + what)
    finally:
        client.close()
        agent.kill()
        gateway.stop()


def test_failing_creates_are_counted_whole(region: Region) -> None:
    """The share of creates that fail is exact, though most of its counters were born with it."""
    accepted = list(region.stack.statuses().values())
    # An hour ago no scrape looked at them, and there was no pause since.
    guarded = alerts()["CinderCreatesFailing"].replace("10m", "1h").rpartition(" > ")[0]
    expression = guarded.replace(' and on () (min(up{job="cinder"} offset 1h) == 1)', "")
    assert expression != guarded
    share = accepted.count("error") / len(accepted)
    wait_until(
        lambda: region.prometheus.value(expression) == pytest.approx(share),
        60,
        f"{region.prometheus.value(expression)} to be {share}",
    )
