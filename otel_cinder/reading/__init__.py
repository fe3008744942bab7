"""Reads OTLP: receives it, takes it apart and puts the spans of a trace together."""
