"""Flags and environment variables."""

from pathlib import Path

import pytest

from gateway.settings import Settings, SettingsError, fields, read_settings, variable


def test_defaults_need_nothing() -> None:
    assert read_settings({}, {}) == Settings()


def test_flag_wins_over_variable() -> None:
    assert read_settings({"port": "9000"}, {"GATEWAY_PORT": "8001"}).port == 9000
    assert read_settings({"port": None}, {"GATEWAY_PORT": "8001"}).port == 8001


def test_variables_of_every_form() -> None:
    settings = read_settings(
        {},
        {
            "GATEWAY_ENDPOINTS": "sdxl-turbo, emoji",
            "GATEWAY_ALIASES": "dall-e-3=emoji,gpt-image-1=emoji:3d",
            "GATEWAY_NO_AUTH": "true",
            "GATEWAY_MODELS": "/srv/models",
            "GATEWAY_URL_MINUTES": "1.5",
            "UNRELATED": "x",
        },
    )
    assert settings.endpoints == ("sdxl-turbo", "emoji")
    assert settings.aliases == {"dall-e-3": "emoji", "gpt-image-1": "emoji:3d"}
    assert settings.no_auth is True
    assert settings.models == Path("/srv/models")
    assert settings.url_minutes == 1.5


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("GATEWAY_PORT", "eighty", r"GATEWAY_PORT \(--port\) = 'eighty': Expected `int`"),
        ("GATEWAY_PORT", "70000", "<= 65535"),
        ("GATEWAY_PROT", "80", "GATEWAY_PROT: no such setting"),
        ("GATEWAY_URL_MINUTES", "0", "GATEWAY_URL_MINUTES"),
        ("GATEWAY_NO_AUTH", "perhaps", "GATEWAY_NO_AUTH"),
    ],
)
def test_malformed_setting_is_refused(name: str, value: str, fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        read_settings({}, {name: value})


def test_every_setting_says_what_it_is() -> None:
    for field in fields():
        described = getattr(field.type, "extra_json_schema", None) or {}
        assert described.get("description"), f"{variable(field.name)} has no help"
