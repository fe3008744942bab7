"""Starts, ends and describes spans; knows the process and the trace that they belong to."""
