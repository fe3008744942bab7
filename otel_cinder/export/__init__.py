"""Sends spans, metrics and log records by OTLP, from native threads."""
