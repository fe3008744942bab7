"""`otel-cinder live`: requests to Cinder as they run."""
