"""A private MariaDB, with Cinder's schema made once and copied for each set of services."""

import contextlib
import getpass
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pymysql

from tests.integration.processes import Process, free_port, run, server_binary, wait_until

# Nothing here outlives the test session, so nothing waits for a disk.
IN_A_HURRY = (
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-buffer-pool-size=128M",
    "--sync-binlog=0",
    "--max-connections=600",
)
TEMPLATE = "cinder_template"


class Database:
    """A MariaDB server on the loopback, run as the current user."""

    def __init__(self, folder: Path) -> None:
        self._server = server_binary("mariadbd", "mariadb-server")
        self._folder = folder
        self.port = free_port()
        self._process: Process | None = None

    def url(self, schema: str) -> str:
        """Return what Cinder's [database] connection wants."""
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/{schema}"

    def start(self) -> None:
        """Make the data folder and start the server."""
        data = self._folder / "data"
        # A server that starts removes temporary tables from its folder for them, also another's.
        tmp = self._folder / "tmp"
        tmp.mkdir()
        user = getpass.getuser()
        shared = ["--no-defaults", f"--datadir={data}", f"--tmpdir={tmp}", f"--user={user}"]
        run(
            [
                server_binary("mariadb-install-db", "mariadb-server"),
                *shared,
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ]
        )
        argv: list[str | Path] = [
            self._server,
            *shared,
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            f"--socket={self._folder / 'socket'}",
            f"--pid-file={self._folder / 'pid'}",
            *IN_A_HURRY,
        ]
        self._process = Process("mariadb", argv, self._folder / "mariadb.log", {})
        wait_until(self._answers, 60, f"MariaDB (its log: {self._process.log})")

    def close(self) -> None:
        """End the server; its folder goes with the test session."""
        if self._process is not None:
            self._process.kill()

    def make_template(self, python: Path, cinder_manage: Path, configuration: Path) -> None:
        """Create Cinder's schema with its own migrations; the configuration names TEMPLATE."""
        self.query(f"CREATE DATABASE {TEMPLATE}")
        run([python, cinder_manage, "--config-file", configuration, "db", "sync"])
        # Ten volumes are the default quota; the tests make hundreds.
        self.query(f"UPDATE {TEMPLATE}.quota_classes SET hard_limit=-1")
        dump = run([server_binary("mariadb-dump", "mariadb-client"), *self._client(), TEMPLATE])
        (self._folder / "template.sql").write_text(dump)

    def copy_template(self, schema: str) -> None:
        """Give one set of services a schema of its own."""
        self.query(f"CREATE DATABASE {schema}")
        source = f"source {self._folder / 'template.sql'}"
        client = server_binary("mariadb", "mariadb-client")
        run([client, *self._client(), schema, f"--execute={source}"])

    def query(self, statement: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one statement, committed at once, and return its rows."""
        with pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", autocommit=True
        ) as connection:
            with connection.cursor() as cursor:
                cursor.execute(statement, arguments)
                return list(cursor.fetchall())

    @contextlib.contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Let everybody wait who asks for this table."""
        with pymysql.connect(host="127.0.0.1", port=self.port, user="root") as connection:
            with connection.cursor() as cursor:
                cursor.execute(f"LOCK TABLES {table} WRITE")
                yield

    def _client(self) -> list[str]:
        return ["--no-defaults", "--host=127.0.0.1", f"--port={self.port}", "--user=root"]

    def _answers(self) -> bool:
        try:
            self.query("SELECT 1")
        except pymysql.OperationalError:
            return False
        return True
