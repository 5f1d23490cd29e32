"""Flags and environment variables."""

from pathlib import Path

import pytest

from gateway.settings import Settings, SettingsError, fields, read_settings, strays, variable


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
        ("GATEWAY_URL_MINUTES", "0", "GATEWAY_URL_MINUTES"),
        ("GATEWAY_NO_AUTH", "perhaps", "GATEWAY_NO_AUTH"),
    ],
)
def test_malformed_setting_is_refused(name: str, value: str, fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        read_settings({}, {name: value})


# What Kubernetes and Docker write into a container for services of these names.
SERVICE_LINKS = {
    "GATEWAY_SERVICE_HOST": "10.96.0.10",
    "GATEWAY_SERVICE_PORT": "8000",
    "GATEWAY_SERVICE_PORT_HTTP": "8000",
    "GATEWAY_PORT": "tcp://10.96.0.10:8000",
    "GATEWAY_PORT_8000_TCP": "tcp://10.96.0.10:8000",
    "GATEWAY_PORT_8000_TCP_ADDR": "10.96.0.10",
    "GATEWAY_PORT_53_UDP_PROTO": "udp",
    "GATEWAY_API_SERVICE_PORT": "80",
    "GATEWAY_STORE_PORT": "tcp://[fd00::1]:80",
    "GATEWAY_STORE_PORT_80_TCP_PORT": "80",
}


def test_what_kubernetes_writes_for_a_service_of_the_name_is_no_setting() -> None:
    assert read_settings({}, SERVICE_LINKS) == Settings()
    assert read_settings({"port": 9000}, SERVICE_LINKS).port == 9000
    assert strays(SERVICE_LINKS) == []


def test_a_variable_left_empty_is_not_set() -> None:
    empty = {variable(field.name): " " if field.name == "port" else "" for field in fields()}
    assert read_settings({}, empty) == Settings()
    assert strays({"GATEWAY_MADE_UP": ""}) == []


def test_a_variable_that_is_no_setting_is_named_with_the_one_meant() -> None:
    environment = {
        "GATEWAY_PROT": "80",
        "GATEWAY_MAX_BATCHES": "8",
        "GATEWAY_QUUX": "1",
        "GATEWAY_HOST": "::1",
    }
    assert read_settings({}, environment) == Settings(host="::1")
    assert strays(environment) == [
        "GATEWAY_MAX_BATCHES: no such setting, passed over; perhaps GATEWAY_MAX_BATCH is meant",
        "GATEWAY_PROT: no such setting, passed over; perhaps GATEWAY_PORT is meant",
        "GATEWAY_QUUX: no such setting, passed over",
    ]


def test_every_setting_says_what_it_is() -> None:
    for field in fields():
        described = getattr(field.type, "extra_json_schema", None) or {}
        assert described.get("description"), f"{variable(field.name)} has no help"
