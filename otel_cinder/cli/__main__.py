"""`python -m otel_cinder.cli` is `otel-cinder`."""

from __future__ import annotations

from otel_cinder.cli import main

if __name__ == "__main__":
    main()
