"""The moving picture of `otel-cinder live`: real Cinder, a real terminal, drawn again by `make picture`."""
