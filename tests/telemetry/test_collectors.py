"""Collectors that the environment names, that are gone or hang; and libraries that are missing."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from gateway.app import create_app
from gateway.settings import Settings, SettingsError
from gateway.telemetry import spans, traces
from tests.serving import listening
from tests.small_engine import TestEngine, small_catalog
from tests.telemetry.collector import collecting, new_trace

PATH = "/v1/images/generations"


@contextmanager
def told(tmp_path: Path, **environment: str) -> Iterator[str]:
    """A gateway of plain pictures whose collector the environment names."""
    with pytest.MonkeyPatch.context() as patching:
        for name, value in environment.items():
            patching.setenv(name, value)
        settings = Settings(endpoints=("tiny",), data=tmp_path, grace_seconds=60)
        with listening(create_app(settings, TestEngine(), small_catalog())) as address:
            yield address


def ask(address: str, headers: dict[str, str]) -> httpx.Response:
    body = {"model": "tiny", "prompt": "a", "response_format": "b64_json"}
    return httpx.post(address + PATH, json=body, headers=headers, timeout=60)


def test_the_standard_variables_say_where_how_much_and_under_what_name(tmp_path: Path) -> None:
    with collecting() as collector:
        trace, headers = new_trace()
        with told(
            tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_SERVICE_NAME="pictures",
            OTEL_BSP_SCHEDULE_DELAY="3600000",
        ) as address:
            assert ask(address, headers).is_success
            assert not collector.spans
        # The end tells what had not been told.
        assert {span.service for span in collector.of(trace)} == {"pictures"}
        assert f"POST {PATH}" in {span.name for span in collector.of(trace)}


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")]
)
def test_the_standard_variables_say_when_nothing_is_told(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv(name, value)
    traces.begin(Settings(data=tmp_path))
    assert traces.naming() is None


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_BSP_MAX_QUEUE_SIZE", "0"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1")]
)
def test_malformed_standard_variables_are_named(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name.removeprefix("OTEL_BSP_").lower()):
        traces.begin(Settings(data=tmp_path))


def test_what_is_not_kept_is_not_told(tmp_path: Path) -> None:
    with collecting() as collector:
        with told(
            tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_TRACES_SAMPLER="always_off"
        ) as address:
            assert ask(address, new_trace()[1]).is_success
        assert not collector.spans


def test_a_collector_that_is_gone_or_hangs_holds_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "FLUSH_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections, and says nothing
        for port in (1, mute.getsockname()[1]):
            with told(
                tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
                OTEL_BSP_SCHEDULE_DELAY="20", OTEL_BSP_MAX_QUEUE_SIZE="8",
                OTEL_BSP_MAX_EXPORT_BATCH_SIZE="4",
            ) as address:
                for _ in range(5):
                    assert ask(address, new_trace()[1]).is_success


def test_without_its_libraries_the_setting_is_refused_and_the_environment_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "_NEEDED", ("opentelemetry.nothing",))
    settings = Settings(data=tmp_path, otlp_endpoint="http://127.0.0.1:1")
    with pytest.raises(SettingsError, match=r"GATEWAY_OTLP_ENDPOINT.*image-gateway\[otel\]"):
        create_app(settings, TestEngine(), small_catalog())
    with told(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1") as address:
        assert ask(address, new_trace()[1]).is_success
