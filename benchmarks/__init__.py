"""The cost of tracing, in ratios of one run: ``python -m benchmarks``. See README.md."""
