"""What to install beside the Cinder of each OpenStack release, so that nothing of Cinder's moves."""
