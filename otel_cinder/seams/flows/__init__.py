"""TaskFlow: a span for each run of a flow, and one for each atom while its own code runs.

TaskFlow notifies from the engine's thread before and after an atom, not around it: in an unordered
flow all SUCCESS notifications come at the end. So atoms are timed by a wrap of the functions that
run their code, in whichever thread does; the listener follows the flow's states, and the atoms that
run in another process, where there is no code to wrap.

By hand, without `otel_cinder.instrument()`::

    with FlowListener(engine, tracer_provider):
        engine.run()
"""

from __future__ import annotations

from otel_cinder.patching.patch_set import PatchSet
from otel_cinder.seams.flows import atoms, listener
from otel_cinder.seams.flows.listener import FlowListener

__all__ = ["FlowListener", "patch"]


def patch(patches: PatchSet) -> None:
    """Attach a `FlowListener` to every engine that runs, and time the atoms it runs."""
    listener.patch(patches)
    atoms.patch(patches)
