"""What knows nothing of OpenStack: names, settings, redaction, patching, export."""
