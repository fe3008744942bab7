"""What tracing costs, in ratios of one run: ``python -m benchmarks``. See README.md."""
