"""Makes a service's scheduler API one of a release to come, as in an upgrade that began at the wrong end.

Python runs this at the start of every interpreter that has this folder on its PYTHONPATH.
"""

from otel_cinder.import_hooks import ImportHooks

SCHEDULER_API = "cinder.scheduler.rpcapi"
VERSION = "99.0"


def _be_newer() -> None:
    from cinder.scheduler.rpcapi import SchedulerAPI

    assert SchedulerAPI.RPC_DEFAULT_VERSION
    SchedulerAPI.RPC_API_VERSION = SchedulerAPI.RPC_DEFAULT_VERSION = VERSION
    # Nor does it look for what the other side has said that it knows.
    SchedulerAPI.determine_rpc_version_cap = classmethod(lambda _cls: VERSION)


ImportHooks().when_imported(SCHEDULER_API, _be_newer)
