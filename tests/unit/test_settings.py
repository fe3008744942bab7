"""The OTEL_CINDER_* settings."""

from __future__ import annotations

import dataclasses

import pytest

from otel_cinder import conventions
from otel_cinder.settings import (
    NAMES,
    SEAMS,
    Settings,
    disabled_instrumentations,
    enabled,
    instrumentation_disabled,
)


def test_defaults() -> None:
    """By default no sender is trusted, periodic work is off and all seams are on."""
    assert Settings.from_environ({}) == Settings(
        trust_inbound=False, periodic=False, disabled_seams=frozenset()
    )


@pytest.mark.parametrize("value", ["1", "true", "TRUE", " yes ", "on"])
def test_yes(value: str, caplog: pytest.LogCaptureFixture) -> None:
    """The usual words for yes are understood, without a warning."""
    settings = Settings.from_environ(
        {
            "OTEL_CINDER_ENABLED": value,
            "OTEL_CINDER_PERIODIC": value,
            "OTEL_CINDER_TRUST_INBOUND": value,
        }
    )
    assert enabled({"OTEL_CINDER_ENABLED": value})
    assert (settings.periodic, settings.trust_inbound) == (True, True)
    assert caplog.messages == []


@pytest.mark.parametrize("value", ["", "0", "false", "No", " off"])
def test_no(value: str, caplog: pytest.LogCaptureFixture) -> None:
    """The usual words for no are understood, without a warning."""
    assert not enabled({"OTEL_CINDER_ENABLED": value})
    assert not Settings.from_environ({"OTEL_CINDER_PERIODIC": value}).periodic
    assert caplog.messages == []


def test_bad_flag_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """An unknown value counts as no; the warning has the advice, the reason and the value, cut short."""
    assert not Settings.from_environ({"OTEL_CINDER_PERIODIC": "maybe" * 100}).periodic
    (message,) = caplog.messages
    assert message == (
        f"Set OTEL_CINDER_PERIODIC to true or false: {('maybe' * 8)!r} is neither, so it counts as "
        "false."
    )


def test_disabled_seams() -> None:
    """Seams are named in a list; spaces and empty parts do not matter."""
    settings = Settings.from_environ({"OTEL_CINDER_DISABLED_SEAMS": " http, rpc,,"})
    assert settings.disabled_seams == {"http", "rpc"}


def test_unknown_seam_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """A seam that does not exist is ignored; the warning names those that do."""
    settings = Settings.from_environ({"OTEL_CINDER_DISABLED_SEAMS": "flows,sql"})
    assert settings.disabled_seams == {"flows"}
    (message,) = caplog.messages
    assert message == (
        "Correct OTEL_CINDER_DISABLED_SEAMS: there is no seam 'sql', so it is ignored. "
        f"The seams are {', '.join(SEAMS)}."
    )


@pytest.mark.parametrize(
    ("value", "names", "disabled"),
    [
        ("", set(), False),
        (" flask, requests,,", {"flask", "requests"}, False),
        ("flask,otel_cinder", {"flask", "otel_cinder"}, True),
        ("*", {"*"}, True),
    ],
)
def test_disabled_instrumentations(value: str, names: set[str], disabled: bool) -> None:
    """OpenTelemetry's list of disabled instrumentations counts, by name or for all of them."""
    environ = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": value}
    assert disabled_instrumentations(environ) == names
    assert instrumentation_disabled(environ) is disabled
    assert not instrumentation_disabled({})


def test_settings_cannot_be_changed() -> None:
    """Settings are immutable."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().periodic = True  # type: ignore[misc]


def test_every_setting_has_a_name_and_a_meaning() -> None:
    """The table that the documentation is made of holds each OTEL_CINDER_* variable."""
    assert set(conventions.SETTINGS) >= {
        "OTEL_CINDER_ENABLED",
        "OTEL_CINDER_DISABLED_SEAMS",
        "OTEL_CINDER_TRUST_INBOUND",
        "OTEL_CINDER_PERIODIC",
    }
    assert set(conventions.SETTINGS) == NAMES
    assert all(conventions.SETTINGS.values())


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("OTEL_CINDER_ENABLE", ", probably to OTEL_CINDER_ENABLED"),
        ("OTEL_CINDER_LOGLEVEL", ", probably to OTEL_CINDER_LOG_LEVEL"),
        ("OTEL_CINDER_DISABLE_SEAM", ", probably to OTEL_CINDER_DISABLED_SEAMS"),
        ("OTEL_CINDER_peridoic", ", probably to OTEL_CINDER_PERIODIC"),
        ("OTEL_CINDER_XYZ", f" (there are {', '.join(sorted(NAMES))})"),
    ],
)
def test_unknown_setting_is_warned_of(
    name: str, nearest: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning about an unknown name has the nearest setting, or all settings."""
    Settings.from_environ({"OTEL_CINDER_ENABLED": "true", name: "1"})
    assert caplog.messages == [
        (
            f"Correct the name of {name}{nearest}: otel-cinder has no such setting, so it has no "
            "effect."
        )
    ]


def test_known_settings_are_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Every setting is known, with any value; other programs' variables are ignored."""
    others = ("OTEL_SERVICE_NAME", "MY_OTEL_CINDER_ENABLE", "OTEL_CINDERELLA")
    Settings.from_environ(dict.fromkeys((*NAMES, *others), ""))
    assert caplog.messages == []
