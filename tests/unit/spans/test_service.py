"""A service as a key and a value."""

from __future__ import annotations

from otel_cinder.spans.service import Service


def test_equal_services_are_one_key() -> None:
    """Services of one name and instance are equal, and find the same tracer."""
    assert {Service("cinder-volume", "h@lvm"): 1}[Service("cinder-volume", "h@lvm")] == 1
    assert Service("cinder-api") == Service("cinder-api", "")


def test_service_names_its_parts() -> None:
    """Name and instance are attributes, and the instance may be unknown."""
    service = Service("cinder-backup", "node")
    assert (service.name, service.instance) == ("cinder-backup", "node")
    assert Service("cinder-api").instance == ""
