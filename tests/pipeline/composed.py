"""The services of compose.yaml as processes: their commands, environments and files, no containers.

Only addresses and paths are others than in a container: each port is a free one of this host, and
what is mounted stands below a folder. What compose.yaml leaves to a configuration's defaults is
translated in the same way.
"""

import re
import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.integration.processes import free_port, server_binary
from tests.pipeline.programs import CHECKOUT, HTTP, Program, collector_binary, jaeger_binary

COMPOSE = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
# A configuration's `${env:NAME:-DEFAULT}`, or compose.yaml's `${NAME:-DEFAULT}`.
DEFAULT = re.compile(r"\$\{(?:env:)?(\w+):-([^}]*)}")


class Ports:
    """The ports of this host that stand for those of the containers."""

    def __init__(self) -> None:
        self._ports: dict[int, int] = defaultdict(free_port)

    def address(self, port: int) -> str:
        """Return where that port of a container is."""
        return f"127.0.0.1:{self._ports[port]}"

    def translate(self, text: str) -> str:
        """Return a text with the addresses of this host in it."""
        hosts = "|".join([r"0\.0\.0\.0", r"127\.0\.0\.1", *SERVICES])
        return re.sub(rf"\b(?:{hosts}):(\d+)", lambda found: self.address(int(found[1])), text)

    def settings(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return environment variables with the addresses and ports of this host in them."""
        return {
            name: self.address(int(value)).rpartition(":")[2]
            if name.endswith("_PORT")
            else self.translate(value)
            for name, value in given.items()
        }


class Composed(Program):
    """One service; healthy when what compose.yaml asks it says so.

    ``chosen`` are variables of compose.yaml itself, as the user's environment would set them.
    """

    def __init__(self, name: str, folder: Path, ports: Ports, **chosen: str) -> None:
        super().__init__(name, folder)
        self._chosen = chosen
        self._service = SERVICES[name]
        self._ports = ports
        self.root = self.folder / "root"
        self._targets: list[str] = []
        self._defaults: dict[str, str] = {}
        for volume in self._service["volumes"]:
            source, target = volume.split(":")[:2]
            self._targets.append(target)
            where = self.root / target[1:]
            if not source.startswith("./"):
                where.mkdir(parents=True, exist_ok=True)
            elif (CHECKOUT / source).is_dir():
                for file in (CHECKOUT / source).iterdir():
                    self._mount(file, where / file.name)
            else:
                self._mount(CHECKOUT / source, where)

    def argv(self) -> list[str | Path]:
        binary = {
            "collector": collector_binary,
            "jaeger": jaeger_binary,
            "prometheus": lambda: server_binary("prometheus", "prometheus"),
        }[self.name]()
        words = [
            self._ports.translate(self._locate(self._choose(word)))
            for word in self._service["command"]
        ]
        if self.name == "prometheus":  # in a container it is everywhere
            words.append(f"--web.listen-address={self._ports.address(9090)}")
        return [binary, *words]

    def environment(self) -> dict[str, str]:
        given = {name: str(value) for name, value in self._service.get("environment", {}).items()}
        settings = {
            name: self._locate(value)
            for name, value in self._ports.settings(self._defaults | given).items()
        }
        # What the graphs are made of is there a second after the spans.
        return settings | {"OTELCOL_METRICS_INTERVAL": "1s"}

    def ready(self) -> bool:
        if "healthcheck" in self._service:
            url = self._service["healthcheck"]["test"][-1]
        else:  # the collector's, which `make up` asks
            url = f"http://{self._service['environment']['OTELCOL_HEALTH_ENDPOINT']}"
        return HTTP.get(self._ports.translate(url), timeout=5).ok

    def _choose(self, text: str) -> str:
        return DEFAULT.sub(lambda found: self._chosen.get(found[1], found[2]), text)

    def _mount(self, file: Path, where: Path) -> None:
        where.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text()
        if self.name == "prometheus":
            # Nothing in these can come from the environment.
            text = re.sub(r"(_interval:) 15s", r"\1 1s", self._ports.translate(text))
            where.write_text(text)
        else:
            self._defaults |= dict(DEFAULT.findall(text))
            shutil.copy(file, where)

    def _locate(self, text: str) -> str:
        """Return a text with the paths of mounted files replaced by those of this checkout."""
        targets = "|".join(map(re.escape, self._targets))
        return re.sub(rf"(?<![\w./])(?:{targets})\b", lambda found: f"{self.root}{found[0]}", text)
