"""A private RabbitMQ: own node, ports and folders, so that a test may stop and start it."""

import contextlib
import os
from pathlib import Path

import kombu

from tests.integration.processes import Process, free_port, run, server_binary, wait_until


class Broker:
    """A RabbitMQ node on the loopback, run as the current user."""

    def __init__(self, folder: Path) -> None:
        self._server = server_binary("rabbitmq-server", "rabbitmq-server")
        # The wrapper of this name in /usr/sbin changes to the user rabbitmq; its neighbour not.
        private = Path("/usr/lib/rabbitmq/bin")
        self._bin = private if private.is_dir() else self._server.parent
        self._folder = folder
        self.port = free_port()
        self._process: Process | None = None
        self._epmd_port = free_port()
        (folder / "plugins").write_text("[].")
        (folder / "rabbitmq.conf").write_text("disk_free_limit.absolute = 1MB\n")
        (folder / "rabbitmq-env.conf").write_text("")
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"otel-cinder-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
            # One scheduler that does not spin: the services under test need the processor.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none",
        }

    def url(self, vhost: str = "") -> str:
        """Return what Cinder's transport_url wants."""
        return f"rabbit://guest:guest@127.0.0.1:{self.port}/{vhost}"

    def connection(self, vhost: str = "/") -> kombu.Connection:
        """Return a connection of the test's own, to look at what is on the wire."""
        return kombu.Connection(f"amqp://guest:guest@127.0.0.1:{self.port}/{vhost}")

    def start(self) -> None:
        """Start the node and wait until it speaks AMQP."""
        argv = [self._bin / "rabbitmq-server"]
        self._process = Process("rabbitmq", argv, self._folder / "rabbitmq.log", self._env)
        wait_until(self._answers, 60, f"RabbitMQ (its log: {self._process.log})")

    def stop(self) -> None:
        """Stop the node; every client loses its connection."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(TimeoutError):
            self._process.wait(30)
        self._process.kill()
        self._process = None

    def close(self) -> None:
        """Stop the node and the port mapper that Erlang left behind for it."""
        self.stop()
        with contextlib.suppress(RuntimeError, FileNotFoundError):
            run(["epmd", "-kill"], self._env)

    def add_vhost(self, name: str) -> None:
        """Make a namespace of its own for one set of services."""
        self._control("add_vhost", name)
        self._control("set_permissions", "--vhost", name, "guest", ".*", ".*", ".*")

    def _control(self, *words: str) -> None:
        run([self._bin / "rabbitmqctl", "-n", self._env["RABBITMQ_NODENAME"], *words], self._env)

    def _answers(self) -> bool:
        if self._process is None or not self._process.running():
            raise RuntimeError(f"RabbitMQ ended; see {self._folder / 'rabbitmq.log'}")
        try:
            with self.connection() as connection:
                connection.connect()
        except (OSError, *kombu.Connection().connection_errors):
            return False
        return True
