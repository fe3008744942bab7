"""Packages to add to each OpenStack release's Cinder without changing Cinder's own."""
