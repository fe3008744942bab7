"""A private Glance: the real one, in a virtualenv of its own, without keystone, over files."""

import fcntl
import sys
from pathlib import Path
from typing import Any

import requests

from tests.integration.installation import CHECKOUT, clean_environment
from tests.integration.processes import Process, free_port, listens, missing, run, wait_until

# Its libraries need not be those that Cinder has.
REQUIREMENTS = ("glance==33.0.0", "pyuwsgi==2.0.30.post1")
CACHE = CHECKOUT / ".cache" / "glance"
CONFIGURATION = """\
[DEFAULT]
enabled_backends = files:file
[database]
connection = sqlite:///{folder}/glance.sqlite
[paste_deploy]
config_file = {venv}/etc/glance/glance-api-paste.ini
[glance_store]
default_backend = files
[files]
filesystem_store_datadir = {folder}/images
[os_glance_staging_store]
filesystem_store_datadir = {folder}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {folder}/tasks
[oslo_policy]
policy_file = {folder}/policy.yaml
"""
# Who asks without keystone has no role, which Glance's default rules want.
POLICY = """\
add_image: "@"
get_image: "@"
get_images: "@"
download_image: "@"
upload_image: "@"
modify_image: "@"
delete_image: "@"
"""


class Glance:
    """glance-api under uWSGI on the loopback, run as the current user."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bin = _virtualenv() / "bin"
        self.port = free_port()
        self._process: Process | None = None
        configuration = CONFIGURATION.format(folder=folder, venv=CACHE)
        (folder / "glance-api.conf").write_text(configuration)
        (folder / "policy.yaml").write_text(POLICY)

    @property
    def url(self) -> str:
        """Return what Cinder's glance_api_servers wants."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Make the schema and start the server."""
        configuration = self._folder / "glance-api.conf"
        manage = [self._bin / "python", self._bin / "glance-manage"]
        run([*manage, "--config-file", configuration, "db", "sync"], clean_environment())
        argv: list[str | Path] = [
            self._bin / "uwsgi",
            "--module=glance.wsgi.api:application",
            f"--http-socket=127.0.0.1:{self.port}",
            "--master",
            "--die-on-term",
            "--enable-threads",
            "--threads=4",
            "--buffer-size=65535",
            "--chunked-input-limit=16777216",
            "--chunked-input-timeout=60",
            "--add-header=Connection: close",
        ]
        env = clean_environment() | {"OS_GLANCE_CONFIG_DIR": str(self._folder)}
        self._process = Process("glance-api", argv, self._folder / "glance-api.log", env)
        wait_until(lambda: listens(self.port), 60, f"Glance (its log: {self._process.log})")

    def close(self) -> None:
        """End the server."""
        if self._process is not None:
            self._process.kill()

    def add_image(self, name: str, data: bytes, **properties: str) -> str:
        """Upload a raw image with these properties; return its id."""
        described = {"name": name, "disk_format": "raw", "container_format": "bare", **properties}
        answer = requests.post(f"{self.url}/v2/images", json=described, timeout=30)
        answer.raise_for_status()
        image_id = str(answer.json()["id"])
        upload = requests.put(
            f"{self.url}/v2/images/{image_id}/file",
            data=data,
            headers={"Content-Type": "application/octet-stream"},
            timeout=30,
        )
        upload.raise_for_status()
        return image_id

    def image(self, image_id: str) -> dict[str, Any]:
        """Return what is known of an image."""
        answer = requests.get(f"{self.url}/v2/images/{image_id}", timeout=30)
        answer.raise_for_status()
        return dict(answer.json())


def _virtualenv() -> Path:
    """Return Glance's virtualenv, made at first need and kept for the next session."""
    CACHE.parent.mkdir(exist_ok=True)
    ready = CACHE / "requirements.txt"
    wanted = "\n".join(REQUIREMENTS)
    with (CACHE.parent / "glance.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.is_file() or ready.read_text() != wanted:
            try:
                run([sys.executable, "-m", "venv", "--clear", CACHE])
                pip = [CACHE / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
                run([*pip, "install", "--quiet", *REQUIREMENTS])
            except RuntimeError as error:
                missing(f"Glance can't be installed into {CACHE}: {error}")
            ready.write_text(wanted)
    return CACHE
