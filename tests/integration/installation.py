"""The package under test, installed from its wheel next to Cinder, as a user would have it."""

import os
import re
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

from tests.integration.processes import missing, run

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPTS = (
    "cinder-api",
    "cinder-scheduler",
    "cinder-volume",
    "cinder-backup",
    "cinder-manage",
    "cinder-rootwrap",
    "privsep-helper",
    "uwsgi",
)
# Cinder runs `sudo cinder-rootwrap …`, which the real sudo looks for in the system's folders only.
SUDO = """\
#!/bin/sh
[ "$(id -u)" -eq 0 ] && exec "$@"
exec /usr/bin/sudo --non-interactive env "PATH=$PATH" "$@"
"""


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what would switch on or lead astray a service."""
    astray = re.compile(r"OTEL_|OS_|PYTHON|UWSGI_|VIRTUAL_ENV$|COVERAGE_|.*_proxy$|.*_PROXY$")
    return {name: value for name, value in os.environ.items() if not astray.match(name)}


def build_wheel(target: Path) -> Path:
    """Build the checkout's wheel in ``target``."""
    # Without isolation where the build backend is at hand: that needs no network.
    alone = ["--no-build-isolation"] if find_spec("hatchling") else []
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run([*pip, "wheel", *alone, "--no-deps", "--wheel-dir", target, CHECKOUT])
    (wheel,) = target.glob("otel_cinder-*.whl")
    return wheel


class Installation:
    """A virtualenv with the wheel in it and a link to all else that pytest's own has.

    The links leave out whatever belongs to otel-cinder, an editable install of the checkout
    above all: what the services import is the wheel, whatever the checkout looks like by then.
    (A path to pytest's site-packages would not do: Python runs `.pth` files only of a
    virtualenv's own.)
    """

    def __init__(self, folder: Path) -> None:
        if find_spec("cinder") is None:
            missing("Cinder is not installed: the extra [dev] has it.")
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        self.etc = Path(sys.prefix) / "etc" / "cinder"
        run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"])
        ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
        self._site = Path(run([self.python, "-c", ask], clean_environment()).strip())
        self._link_packages()
        for script in SCRIPTS:
            self._copy_script(Path(sys.prefix) / "bin" / script)
        self.script("sudo").write_text(SUDO)
        self.script("sudo").chmod(0o755)
        self._install(build_wheel(folder / "wheel"))

    def environment(self) -> dict[str, str]:
        """Return what a service is started with, where its programs come first."""
        clean = clean_environment()
        return clean | {"PATH": f"{self.python.parent}{os.pathsep}{clean.get('PATH', '')}"}

    def script(self, name: str) -> Path:
        """Return a console script that runs in this virtualenv."""
        return self.python.parent / name

    def _link_packages(self) -> None:
        for origin in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
            for entry in Path(origin).iterdir():
                if "otel_cinder" not in entry.name and entry.name != "__pycache__":
                    (self._site / entry.name).symlink_to(entry)

    def _copy_script(self, original: Path) -> None:
        """Copy a console script of pytest's virtualenv, its first line naming our interpreter."""
        _, body = original.read_text().split("\n", 1)
        copy = self.script(original.name)
        copy.write_text(f"#!{self.python}\n{body}")
        copy.chmod(0o755)

    def _install(self, wheel: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        run([*pip, "--python", self.python, "install", "--no-deps", "--no-index", wheel])
        for name in ("otel_cinder.pth", "otel_cinder/__init__.py"):
            if not (self._site / name).is_file():
                raise RuntimeError(f"the wheel put no {name} into {self._site}")
        where = "import otel_cinder; print(otel_cinder.__file__)"
        imported = run([self.python, "-c", where], clean_environment()).strip()
        if Path(imported).parent != self._site / "otel_cinder":
            raise RuntimeError(f"services would import {imported}, not the wheel's")
