"""oslo.messaging: PRODUCER and CONSUMER spans of casts, CLIENT and SERVER spans of calls.

How the trace travels: `otel_cinder.spans.carrier`.
"""

from __future__ import annotations

from otel_cinder.seams.rpc.messages import patch

__all__ = ["patch"]
