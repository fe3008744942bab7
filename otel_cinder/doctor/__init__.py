"""`otel-cinder doctor`: says why nothing arrives, and what to do first. It changes nothing.

It runs on the hosts of Cinder's services, which have neither click nor rich. So this package needs the
standard library alone, and ``python -m otel_cinder doctor`` starts it without the command line's extra.
What only the packages of the inspected virtualenv know (do the patched places fit, does the endpoint
answer) is asked of that virtualenv's own Python: `probe` runs there, and alone imports the rest of
otel-cinder and OpenTelemetry.
"""
