"""A volume driver that can't keep a secret: says, runs, raises and returns what a test has planted.

`plants.json` in the service's state path has its texts: `lines` to log, `commands` to run,
`errors` to raise, and `connection`, what is told of a connection. It says a part of it in each call
of its methods, until all has been said.
"""

import contextlib
import itertools
import json
import logging
from pathlib import Path
from typing import Any

from cinder import exception
from cinder.volume import configuration
from oslo_concurrency import processutils
from oslo_config import cfg
from oslo_context import context as oslo_context
from oslo_log import log
from sparse_files import SparseFileDriver

LOG = log.getLogger(__name__)

# Real options of drivers that ship with Cinder; those files need not be imported for them.
OPTIONS = [
    cfg.StrOpt("leaky_password", secret=True, help="A password, as each driver registers its own."),
]
cfg.CONF.register_opts(OPTIONS, group=configuration.SHARED_CONF_GROUP)

LINES_A_CALL = 24
COMMANDS_A_CALL = 6
NOWHERE = {"PATH": "/nonexistent"}


class LeakyDriver(SparseFileDriver):
    """Keep volumes as the tests' other driver does, and no secrets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(OPTIONS)

    def do_setup(self, context: Any) -> None:
        """Read what is to be said."""
        super().do_setup(context)
        self._plants = json.loads((Path(cfg.CONF.state_path) / "plants.json").read_text())
        self._lines = itertools.cycle(self._plants["lines"])
        self._commands = itertools.cycle(self._plants["commands"])
        self._errors = itertools.cycle(self._plants["errors"])
        self._levels = itertools.cycle([logging.DEBUG, logging.DEBUG, logging.INFO, logging.ERROR])

    def initialize_connection(self, volume: Any, connector: Any) -> dict[str, Any]:
        """Say where the file is, and all the rest."""
        LOG.debug("Connector is %s", connector)
        found = super().initialize_connection(volume, connector)
        found["data"].update(self._plants["connection"])
        LOG.info("connection_info: %s", found)
        return found

    def _obey(self, method: str) -> None:
        for line in itertools.islice(self._lines, LINES_A_CALL):
            LOG.log(next(self._levels), "%s", line)
        token = getattr(oslo_context.get_current(), "auth_token", None)
        LOG.debug("%s: the array was asked with %s", method, token)
        for words in itertools.islice(self._commands, COMMANDS_A_CALL):
            with contextlib.suppress(OSError):  # there are no such programs
                processutils.execute(*words, env_variables=NOWHERE)
        fail = self._orders / f"{self._name}.{method}.fail"
        if fail.exists():
            self._fail()
        super()._obey(method)

    def _fail(self) -> None:
        """Fail with what comes next: from a program's output, logged, and as Cinder's own error."""
        try:
            processutils.execute("sh", "-c", 'echo "$0" >&2; exit 3', next(self._errors))
        except processutils.ProcessExecutionError as error:
            LOG.exception("A program failed: %s", next(self._errors))
            said = f"{next(self._errors)} {error.stderr}"
            raise exception.VolumeBackendAPIException(data=said) from error
