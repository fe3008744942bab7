"""Certificates, made by the very commands that collector/README.md gives operators."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.integration.processes import missing

LOOPBACK = "IP:127.0.0.1"
BOTH = "serverAuth,clientAuth"
README = Path(__file__).resolve().parents[2] / "collector" / "README.md"


def commands() -> str:
    """Return the shell commands of the README's section on TLS."""
    section = README.read_text().split("\n## TLS\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return str(block)


class Certificates:
    """One certificate and its key, and the authority that signed it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca, self.cert, self.key = (folder / f"{name}.pem" for name in ("ca", "cert", "key"))

    def settings(self) -> dict[str, object]:
        """Return the settings of a collector or Jaeger that shows this certificate."""
        return {"CA_FILE": self.ca, "CERT_FILE": self.cert, "KEY_FILE": self.key}


class Authority:
    """A certificate authority in a new folder, and certificates that it signs for hosts."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            missing("openssl is not installed (Debian: openssl).")
        self._folder = folder
        folder.mkdir()
        self._run("make_authority")

    def issue(self, host: str, names: str, use: str) -> Certificates:
        """Return a certificate for a host with these names, for `clientAuth`, `serverAuth`."""
        self._run(f"make_certificate {host} '{names}' {use}")
        return Certificates(self._folder / host)

    def _run(self, command: str) -> None:
        subprocess.run(
            ["sh", "-euc", f"{commands()}\n{command}"],
            cwd=self._folder,
            env={"PATH": os.environ["PATH"]},
            check=True,
            capture_output=True,
        )


def loopback(folder: Path) -> Certificates:
    """Return a certificate for all that runs on the loopback, of an authority in this folder."""
    return Authority(folder / "authority").issue("loopback", LOOPBACK, BOTH)
