"""`otel-cinder run`: a command whose requests are marked, and what Cinder did for them."""
