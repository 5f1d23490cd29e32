"""Every setting of the gateway: its flag, its environment variable, its help and default.

Read once at start into one frozen tree. A field `num_things` is the flag `--num-things`
and the variable `GATEWAY_NUM_THINGS`.
"""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.outside.addresses import base_of

PREFIX = "GATEWAY_"
DATA = "~/.local/share/image-gateway"
DEVICE = r"^(auto|(cpu|cuda|mps|xpu|hpu|mtia)(:[0-9]+)?)$"
AUTO = "auto"
KEY_CHARACTERS = 20
MEMORY = r"^(auto|(?=.*[1-9])[0-9]{1,9}(\.[0-9]{1,9})? ?[KMGTkmgt]i?[Bb])$"
_SERVICE = re.compile(r"\w*(SERVICE_HOST|SERVICE_PORT\w*|PORT_\d+_(TCP|UDP|SCTP)\w*)")
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://.*")


def _help(text: str, **bounds: Any) -> Meta:
    return Meta(description=text, **bounds)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one process."""

    endpoints: Annotated[
        tuple[str, ...],
        _help("ids of the endpoints to serve, or patterns; default: emoji and those of models"),
    ] = ()
    host: Annotated[str, _help("address to bind")] = "127.0.0.1"
    port: Annotated[int, _help("port to bind; 0 takes a free one", ge=0, le=65535)] = 8000
    models: Annotated[Path | None, _help("folder of endpoint cards, beside the bundled ones")] = (
        None
    )
    adapters: Annotated[Path | None, _help("folder of adapters, beside the bundled ones")] = None
    controlnets: Annotated[Path | None, _help("folder of ControlNets, as endpoint/name")] = None
    embeddings: Annotated[
        Path | None, _help("folder of textual inversions, as endpoint/word.safetensors")
    ] = None
    data: Annotated[Path, _help("folder for keys, pictures and runs")] = msgspec.field(
        default_factory=lambda: Path(os.path.expanduser(DATA))
    )
    aliases: Annotated[
        dict[str, str], _help("ids of clients, or patterns, and their meaning: gpt-image-*=emoji,…")
    ] = msgspec.field(default_factory=dict)
    no_auth: Annotated[bool, _help("answer anyone, even when bound wider than loopback")] = False
    operator_key: Annotated[
        str | None,
        _help("secret of an operator's key that is there from the start, beside those made"),
    ] = None
    open_metrics: Annotated[bool, _help("answer /metrics without a key")] = False
    vllm_metrics: Annotated[
        bool, _help("tell queue and adapters at /metrics by vLLM's names too, for routers")
    ] = False
    allowed_hosts: Annotated[
        tuple[str, ...],
        _help("names that a gateway without keys may be called by besides loopback's, as a,b"),
    ] = ()
    public_url: Annotated[
        str | None, _help("base of the URLs given out; default: as the request came")
    ] = None
    store: Annotated[
        str | None, _help("where pictures are kept: a folder, s3://, gs:// or az:// URL")
    ] = None
    url_minutes: Annotated[float, _help("minutes a picture's URL works", gt=0)] = 60
    cors_origins: Annotated[
        tuple[str, ...],
        _help("browser origins that may call, as https://a,…; default: with a key any, else none"),
    ] = ()

    device: Annotated[str, _help("device of endpoints whose card says auto", pattern=DEVICE)] = (
        "auto"
    )
    devices: Annotated[
        tuple[str, ...],
        _help(
            "devices that draw together, a replica on each: cuda:0,cuda:1 or all; cpu:2 to try it; "
            "in a cluster all, gpu:4 or gpu:8@0.5"
        ),
    ] = ()
    cluster: Annotated[
        str | None, _help("address of a Ray cluster to draw on, as auto or 10.0.0.5:6379")
    ] = None
    memory: Annotated[
        str,
        _help("memory to plan with on each device, as 12GiB; auto: what is free", pattern=MEMORY),
    ] = AUTO
    threads: Annotated[int, _help("CPU threads of the engine; 0 leaves torch's choice", ge=0)] = 0
    preload: Annotated[bool, _help("load and warm every endpoint before being ready")] = False
    max_batch: Annotated[int, _help("samples that run at once per endpoint", ge=1)] = 64
    max_waiting: Annotated[
        int,
        _help("samples that may wait before 429 is answered, shared by the keys that ask", ge=1),
    ] = 256
    endpoint_gib: Annotated[
        float, _help("GiB of weights kept in memory before the least used go; 0: no bound", ge=0)
    ] = 0
    adapter_gib: Annotated[
        float, _help("GiB of adapters kept in memory before the least used go; 0: no bound", ge=0)
    ] = 2
    recorded_gib: Annotated[
        float,
        _help("GiB of recorded forwards kept in a GPU's memory before the least used go", gt=0),
    ] = 4

    max_body_mib: Annotated[float, _help("MiB of a request body", gt=0)] = 64
    max_prompt_characters: Annotated[
        int, _help("characters of a prompt, and of any text in a workflow", ge=1)
    ] = 32_000
    picture_mib: Annotated[
        float, _help("MiB that pictures of runs may take in this process, before others wait", gt=0)
    ] = 2048
    run_picture_mib: Annotated[
        float, _help("MiB that the pictures of one run may take at once", gt=0)
    ] = 1024
    heartbeat_seconds: Annotated[
        float, _help("seconds of silence before a waiting client gets a sign of life", gt=0)
    ] = 3
    max_connections: Annotated[
        int, _help("connections open at once, as far as the system's descriptors reach", ge=1)
    ] = 4096
    head_seconds: Annotated[float, _help("seconds a client has for a request's head", gt=0)] = 20
    stall_seconds: Annotated[
        float,
        _help("seconds in which a client must send or take a KiB for each of them", gt=0),
    ] = 30
    keep_alive_seconds: Annotated[
        float, _help("seconds an idle connection is kept; longer than a proxy's", gt=0)
    ] = 75
    drain_seconds: Annotated[
        float,
        _help(
            "seconds from SIGTERM in which requests are still taken while /health/ready says 503",
            ge=0,
        ),
    ] = 2
    grace_seconds: Annotated[float, _help("seconds running work may take at shutdown", ge=0)] = 30
    receipts: Annotated[bool, _help("write each picture's receipt into its PNG text")] = True
    otlp_endpoint: Annotated[
        str | None,
        _help(
            "where traces are sent by OTLP, as http://collector:4318; default: as "
            "OTEL_EXPORTER_OTLP_ENDPOINT says, else nowhere"
        ),
    ] = None
    log_prompts: Annotated[bool, _help("put prompts into the log")] = False

    database: Annotated[
        str | None, _help("where runs are kept: a SQLAlchemy URL; default: SQLite in data")
    ] = None
    run_days: Annotated[float, _help("days a run and its outputs are kept", gt=0)] = 30
    max_open_runs: Annotated[
        int, _help("runs of one API key that may wait or be under way", ge=1)
    ] = 10_000
    max_batch_lines: Annotated[
        int, _help("lines of one API key's OpenAI batches that may wait", ge=1)
    ] = 100_000
    kept_gib: Annotated[
        float,
        _help("GiB of uploads, inputs and batches' files kept for one API key; 0: no bound", ge=0),
    ] = 10
    max_run_batch: Annotated[int, _help("runs one batch request may create", ge=1)] = 1000
    url_allow: Annotated[
        tuple[str, ...],
        _help(
            "hosts, or networks as 10.0.0.0/8, that webhooks and image URLs may reach "
            "although private, comma-separated"
        ),
    ] = ()
    fetch_urls: Annotated[bool, _help("fetch image URLs that clients send")] = True
    pools: Annotated[
        dict[str, str], _help("names of GPU pools and their endpoints: a100=sdxl-turbo,…")
    ] = msgspec.field(default_factory=dict)

    @property
    def store_location(self) -> str:
        """Where pictures are kept, the default filled in."""
        return self.store or str(self.data / "pictures")

    @property
    def has_server(self) -> bool:
        """Whether there is a database that other fronts may share."""
        return bool(self.database) and not str(self.database).startswith("sqlite")


class SettingsError(Exception):
    """A setting cannot be used; the message names key, value and what was wanted."""


def fields() -> list[msgspec.inspect.Field]:
    """The settings, in the order of declaration."""
    info = msgspec.inspect.type_info(Settings)
    assert isinstance(info, msgspec.inspect.StructType)
    return list(info.fields)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def read_settings(
    flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] = os.environ
) -> Settings:
    """Join flags, which win, with the environment; a variable left empty is not set.

    Raises:
        SettingsError: a value of the wrong form.
    """
    names = {field.name for field in fields()}
    given = {
        name: _parsed(name, value)
        for key, value in _own(environment).items()
        if (name := _name(key)) in names
    }
    given |= {name: value for name, value in (flags or {}).items() if value not in (None, ())}
    try:
        settings = msgspec.convert({"data": DATA} | given, Settings, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise SettingsError(_explained(error, given)) from None
    _check_base("public_url", settings.public_url, "https://images.example.com/gateway")
    _check_base("otlp_endpoint", settings.otlp_endpoint, "http://collector:4318")
    if settings.operator_key is not None and len(settings.operator_key) < KEY_CHARACTERS:
        raise SettingsError(
            f"{variable('operator_key')} (--operator-key) is too short to be a secret: expected at "
            f"least {KEY_CHARACTERS} characters that nobody can guess"
        )
    return settings


def strays(environment: Mapping[str, str] = os.environ) -> list[str]:
    """One line for each variable that looks like a setting and is none: what was meant, perhaps."""
    names = [field.name for field in fields()]
    lines = []
    for key in sorted(_own(environment)):
        if (name := _name(key)) not in names:
            near = get_close_matches(name, names, n=1)
            meant = f"; perhaps {variable(near[0])} is meant" if near else ""
            lines.append(f"{key}: no such setting, passed over{meant}")
    return lines


def _check_base(name: str, url: str | None, example: str) -> None:
    if url and not base_of(url):
        raise SettingsError(
            f"{variable(name)} (--{name.replace('_', '-')}) = {url!r}: expected an http or https "
            f"URL with a host, such as {example}"
        )


def _own(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that somebody wrote for the gateway.

    Not those that Kubernetes and Docker write for a service named `gateway` or
    `gateway-…`; one of them is `GATEWAY_PORT=tcp://10.96.0.10:8000`.
    """
    return {
        key: value.strip()
        for key, value in environment.items()
        if key.startswith(PREFIX) and value.strip() and not _is_service_link(key, value)
    }


def _is_service_link(key: str, value: str) -> bool:
    if key.endswith("PORT") and _SERVICE_URL.fullmatch(value):
        return True
    return _SERVICE.fullmatch(key.removeprefix(PREFIX)) is not None


def _name(key: str) -> str:
    return key.removeprefix(PREFIX).lower()


def _explained(error: msgspec.ValidationError, given: Mapping[str, Any]) -> str:
    wanted, _, at = str(error).partition(" - at `$.")
    name = at.rstrip("`").split("[")[0].split(".")[0]
    return f"{variable(name)} (--{name.replace('_', '-')}) = {given.get(name, DATA)!r}: {wanted}"


def _path(kind: type, value: Any) -> Any:
    assert kind is Path
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{value}: {error}") from None


def _parsed(name: str, text: str) -> Any:
    """A variable's text in the form msgspec converts: lists and tables are comma-separated."""
    field = next(field for field in fields() if field.name == name)
    return parsed_value(field.type, text)


def parsed_value(kind: msgspec.inspect.Type, text: str) -> Any:
    """Split `a,b` for a tuple and `a=b,c=d` for a table; leave the rest to msgspec."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return parsed_value(kind.type, text)
    items = [item.strip() for item in text.split(",") if item.strip()]
    if isinstance(kind, msgspec.inspect.VarTupleType):
        return items
    if isinstance(kind, msgspec.inspect.DictType):
        return dict(item.partition("=")[::2] for item in items)
    return text
