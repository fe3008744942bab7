"""The secrets that cinder.conf holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from oslo_config import cfg

from otel_cinder.cinder import secret_options

CONFIGURATION = """\
[DEFAULT]
transport_url = rabbit://openstack:R4bb%21t@one:5672,b:sec0ndpw@two:5672//
weird = Quux$$9!
[database]
connection = mysql+pymysql://cinder:DbPassw0rd@db/cinder
[one]
san_password = S3cr3t!
replication_device = backend_id:two,san_password:Repl1ca,san_ip:192.0.2.1
plain = readable
rbd_secret_uuid = 457eb676-33da-42ec-9a8c-9293d545c337
ssl_key_file = /etc/ssl/private/cinder.key
[registered_by_nobody]
hpe3par_password = "with blanks"
[keystone_authtoken]
password = password
token_cache_time = 300000
username = cinder
"""


@pytest.fixture
def configured(tmp_path: Path) -> cfg.ConfigOpts:
    """A configuration as a service has it, not read yet."""
    conf = cfg.ConfigOpts()
    conf.register_opts([cfg.StrOpt("transport_url", secret=True), cfg.StrOpt("weird", secret=True)])
    device = cfg.MultiOpt("replication_device", item_type=cfg.types.Dict(), secret=True)
    conf.register_opts([cfg.StrOpt("san_password", secret=True), device], group="one")
    (tmp_path / "cinder.conf").write_text(CONFIGURATION)
    return conf


def test_secrets_of_the_configuration(configured: cfg.ConfigOpts, tmp_path: Path) -> None:
    """Secret options are found, registered or not, in URLs and structures too; nothing else is.

    A number or an UUID is no secret because of its name alone.
    """
    assert secret_options.secret_options(configured) == set()
    configured(["--config-file", str(tmp_path / "cinder.conf")])
    secrets = secret_options.secret_options(configured)
    assert secrets == {
        "R4bb%21t",
        "R4bb!t",
        "sec0ndpw",
        "Quux$9!",
        "DbPassw0rd",
        "S3cr3t!",
        "Repl1ca",
        "with blanks",
        "password",
    }


DEPRECATED = """\
[DEFAULT]
old_password = R3named!
[one]
doomed_password = D00med!
two_password = Tw0names!
"""


def test_reading_secrets_leaves_the_deprecations_to_cinder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """oslo.config warns of a deprecated option once: when Cinder reads it, not when we do."""
    conf = cfg.ConfigOpts()
    renamed = cfg.StrOpt("new_password", secret=True, deprecated_name="old_password")
    conf.register_opt(renamed)
    conf.register_opts(
        [
            cfg.StrOpt("doomed_password", secret=True, deprecated_for_removal=True),
            cfg.StrOpt("one_password", secret=True, mutable=True, deprecated_name="two_password"),
        ],
        group="one",
    )
    (tmp_path / "cinder.conf").write_text(DEPRECATED)
    conf(["--config-file", str(tmp_path / "cinder.conf")])
    for _ in range(2):
        assert secret_options.secret_options(conf) == {"R3named!", "D00med!", "Tw0names!"}
    assert caplog.messages == []
    for value in (conf.new_password, conf.one.doomed_password, conf.one.one_password):
        assert value in {"R3named!", "D00med!", "Tw0names!"}
    assert len(caplog.messages) == 3


def test_secrets_of_an_odd_configuration() -> None:
    """Unknown configurations and other objects have no secrets, and raise nothing."""
    assert secret_options.secret_options(None) == set()
    assert secret_options.secret_options(object()) == set()
