"""Versions of models on Civitai, against a stand-in that drops connections, redirects and lies."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.catalog.cards import CARD, AdapterCard, CardError, Component, EndpointCard, FusedLora
from gateway.catalog.catalog import Model
from gateway.catalog.folders import load_catalog
from gateway.catalog.sources.civitai import civitai_file
from gateway.catalog.survey.adapters import header_of
from gateway.catalog.survey.survey import check_model, faults_of, oddities_of, state_of
from gateway.cli.main import commands
from gateway.fetching.fetching import fetch, fetch_missing, is_here, lora_file, plan_of
from gateway.fetching.progress import Fetching
from tests.catalog.heads.test_layouts import PUBLISHED
from tests.catalog.making import hollow, lora, model, write
from tests.fetching.standin import Hub, point_at, serving

VERSION = 2514310
SOURCE = f"civitai:{VERSION}"
NAME = "someInk_v10.safetensors"


@pytest.fixture
def ink(tmp_path: Path) -> bytes:
    """A LoRA that says nothing of itself, long enough to be cut short."""
    return lora(tmp_path / "made" / NAME, 65536).read_bytes()


class Site:
    """What Civitai tells of one version, and how its server behaves."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.facts: dict[str, Any] = {
            "id": VERSION, "name": "v1.0", "baseModel": "Illustrious", "files": [],
            "trainedWords": ["inkwash, ", "ink  style"], "model": {"name": "Ink", "type": "LORA"},
        }  # fmt: skip

    def put(self, called: str, content: bytes, **more: Any) -> dict[str, Any]:
        """Have a file, which leads elsewhere as the site's do; the size is rounded as theirs."""
        at = f"{self.hub.url}/api/download/models/{VERSION}"
        path = f"/api/download/models/{VERSION}" + (f"/{called}" if self.facts["files"] else "")
        file = {
            "name": called, "type": "Model", "sizeKB": round(len(content) / 1024, 1),
            "metadata": {"format": "SafeTensor", "fp": None}, "primary": True,
            "hashes": {"SHA256": hashlib.sha256(content).hexdigest().upper(), "CRC32": "0"},
            "downloadUrl": at + path.removeprefix(f"/api/download/models/{VERSION}"),
        }  # fmt: skip
        self.facts["files"].append(file | more)
        self.hub.moved[path] = f"/stored/{called}"
        self.hub.plain[f"/stored/{called}"] = content
        self.tell()
        return file

    def tell(self) -> None:
        """Answer with the facts as they are now."""
        path = f"/api/v1/model-versions/{VERSION}"
        self.hub.plain[path] = json.dumps(self.facts).encode()

    def ranges(self, name: str = NAME) -> list[str | None]:
        """How a file's bytes were asked for, but for what was asked to learn how many they are."""
        return [part for _, path, part, _ in self.hub.asked
                if path == f"/stored/{name}" and part != "bytes=0-0"]  # fmt: skip


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with serving({}) as hub:
        point_at(hub, tmp_path / "hub", monkeypatch)
        monkeypatch.setenv("CIVITAI_ENDPOINT", f"{hub.url}/")
        monkeypatch.setenv("CIVITAI_TOKEN", "secret")
        yield Site(hub)


def wanted(tmp_path: Path, **more: Any) -> Model:
    """An adapter of an endpoint that comes from there."""
    owner = EndpointCard(id="xl", source="xl", path=tmp_path / CARD)
    card = AdapterCard(endpoint="xl", route="ink", source=SOURCE, path=tmp_path / "x", **more)
    return Model(owner, card)


def have(model: Model) -> list[Fetching]:
    seen: list[Fetching] = []
    fetch(model, plan_of(model), seen.append)
    return seen


def test_a_version_is_fetched_and_told_of(site: Site, tmp_path: Path, ink: bytes) -> None:
    site.put("training.zip", b"zip", type="Training Data")
    site.put(NAME, ink)
    site.put("old.ckpt", b"pickle")
    one = wanted(tmp_path)
    assert not is_here(one)
    plan = plan_of(one)
    assert [each.file.name for each in plan.wanted] == [NAME]
    assert abs(plan.total_bytes - len(ink)) < 1024
    seen = have(one)
    assert is_here(one)
    assert not plan_of(one).wanted
    file = civitai_file(SOURCE)
    assert file == tmp_path / f"civitai/{VERSION}/{NAME}"
    assert civitai_file(f"civitai:827184@{VERSION}") == file
    assert file.read_bytes() == ink
    assert seen[-1].done_bytes == seen[-1].total_bytes
    # The token is for the site alone.
    asked = {path: who for _, path, _, who in site.hub.asked}
    assert asked[f"/api/v1/model-versions/{VERSION}"] == "Bearer secret"
    assert not [path for _, path, _, _ in site.hub.asked if "zip" in path or "ckpt" in path]
    header = header_of(one.adapter) if one.adapter else None
    assert header
    assert (header.made_for, header.trigger_words) == ("Illustrious", ("inkwash,", "ink style"))


@pytest.mark.parametrize("how", ["named", "moved"])
def test_a_token_goes_to_no_other_site(
    site: Site, tmp_path: Path, ink: bytes, how: str
) -> None:
    file = site.put(NAME, ink)
    elsewhere = site.hub.url.replace("127.0.0.1", "localhost") + f"/stored/{NAME}"
    if how == "named":
        site.facts["files"][0]["downloadUrl"] = elsewhere
        site.tell()
    else:
        site.hub.moved[file["downloadUrl"].removeprefix(site.hub.url)] = elsewhere
    have(wanted(tmp_path))
    asked = [(path, who) for _, path, _, who in site.hub.asked]
    assert {who for path, who in asked if path.startswith("/stored")} == {None}
    assert {who for path, who in asked if path.startswith("/api")} == {"Bearer secret"}


@pytest.mark.parametrize("base_model", ["SD 1.5", "Flux.1 D", "SD 3.5", "ZImageTurbo", "Pony"])
def test_a_version_for_another_family_is_named(
    site: Site, tmp_path: Path, ink: bytes, base_model: str
) -> None:
    model(tmp_path / "models" / "xl")
    write(tmp_path / "adapters/xl/ink.toml",
          f'endpoint = "xl"\nroute = "ink"\nsource = "{SOURCE}"\n')  # fmt: skip
    site.facts["baseModel"] = base_model
    site.put(NAME, ink)
    catalog = load_catalog((tmp_path / "models",), (tmp_path / "adapters",))
    one = catalog.resolve("xl:ink")
    assert state_of(faults_of(catalog)["xl:ink"]) == "not_downloaded"
    check_model(one, catalog)
    have(one)
    strange = oddities_of(catalog)
    assert bool(strange) == (base_model != "SD 1.5"), strange


def test_a_dropped_connection_goes_on_where_it_was(site: Site, tmp_path: Path, ink: bytes) -> None:
    site.put(NAME, ink)
    site.hub.drops[f"/stored/{NAME}"] = [0, 100_000]
    have(wanted(tmp_path))
    assert lora_file_of(SOURCE).read_bytes() == ink
    first, second, third = site.ranges()
    assert (first, second) == (None, None)
    assert third is not None


def lora_file_of(source: str) -> Path:
    found = lora_file(EndpointCard(id="a"), FusedLora(source))
    assert found
    return found


@pytest.mark.parametrize("size", [0, 0.5, 40])
def test_a_size_that_is_no_ones_harms_nothing(
    site: Site, tmp_path: Path, ink: bytes, size: float
) -> None:
    site.put(NAME, ink, sizeKB=size * len(ink) / 1024)
    have(wanted(tmp_path))
    assert lora_file_of(SOURCE).read_bytes() == ink


def test_other_bytes_than_were_promised_are_not_kept(
    site: Site, tmp_path: Path, ink: bytes
) -> None:
    site.put(NAME, ink)
    site.hub.plain[f"/stored/{NAME}"] = b"<html>log in</html>"
    with pytest.raises(CardError, match=f"'{SOURCE}': {NAME}: its SHA-256 is"):
        have(wanted(tmp_path))
    assert civitai_file(SOURCE) is None
    site.hub.plain[f"/stored/{NAME}"] = ink
    have(wanted(tmp_path))
    assert lora_file_of(SOURCE).read_bytes() == ink


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ({"name": "old.ckpt"}, "old.ckpt': pickled weights are refused"),
        ({"name": "../../../evil.safetensors"}, "no file that ends in .safetensors or .gguf"),
        ({"name": ".hidden.safetensors"}, "no file that ends in .safetensors or .gguf"),
        ({"downloadUrl": "file:///etc/passwd"}, "no file that ends in .safetensors or .gguf"),
        ({"hashes": {}}, "tells no SHA-256"),
    ],
)
def test_what_cannot_be_used_is_refused_before_a_byte_comes(
    site: Site, tmp_path: Path, ink: bytes, file: dict[str, Any], told: str
) -> None:
    site.put(NAME, ink, **file)
    with pytest.raises(CardError, match=told):
        have(wanted(tmp_path))
    assert site.ranges() == []
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize(
    ("status", "told"),
    [(401, "set CIVITAI_TOKEN to an API key"), (403, "set CIVITAI_TOKEN to an API key"),
     (404, "Civitai has no such version"), (500, "Civitai cannot be reached")],
)  # fmt: skip
@pytest.mark.parametrize("place", ["listing", "file"])
def test_what_cannot_be_had_says_what_to_do(
    site: Site, tmp_path: Path, ink: bytes, status: int, told: str, place: str
) -> None:
    site.put(NAME, ink)
    path = f"/api/v1/model-versions/{VERSION}" if place == "listing" else f"/stored/{NAME}"
    site.hub.refused[path] = status
    with pytest.raises(CardError, match=f"'{SOURCE}'.*{told}"):
        have(wanted(tmp_path))


def test_an_answer_of_another_form_is_told(site: Site, tmp_path: Path) -> None:
    for answer in (b"<html>", b"[]", b'{"files": 3}'):
        site.hub.plain[f"/api/v1/model-versions/{VERSION}"] = answer
        with pytest.raises(CardError, match=f"'{SOURCE}': its answer is none of Civitai's"):
            plan_of(wanted(tmp_path))


def test_every_place_of_a_card_takes_one(site: Site, tmp_path: Path, ink: bytes) -> None:
    site.put(NAME, ink)
    site.put("other.safetensors", ink, primary=False)
    vae = Component(source=SOURCE, weight_name="other.safetensors")
    card = EndpointCard(id="a", source="own", path=tmp_path / CARD, fused=(FusedLora(SOURCE),),
                        components={"vae": vae})  # fmt: skip
    (tmp_path / "own").mkdir()
    assert {one.file.name for one in plan_of(Model(card)).wanted} == {NAME, "other.safetensors"}


def test_a_file_by_its_name_comes_where_the_main_one_cannot(
    site: Site, tmp_path: Path, ink: bytes
) -> None:
    site.put("old.ckpt", b"pickle")
    site.put(NAME, ink, primary=False, hashes={})
    site.put("other.safetensors", ink, primary=False)
    named = wanted(tmp_path, weight_name="other.safetensors")
    have(named)
    assert is_here(named)
    assert not is_here(wanted(tmp_path))


def test_a_checkpoint_is_pulled_with_its_configs_and_served(site: Site, tmp_path: Path) -> None:
    repository, shapes = PUBLISHED["SDXL"]
    whole = hollow(tmp_path / "made.safetensors", shapes).read_bytes()
    site.facts["model"]["type"] = "Checkpoint"
    site.put("juggernaut.safetensors", whole)
    made = model(tmp_path / "configs")
    (made / "card.toml").unlink()
    site.hub.repositories[repository] = {
        str(path.relative_to(made)): path.read_bytes() for path in made.rglob("*.*")
    }
    done = CliRunner().invoke(commands, ["pull", SOURCE])
    assert done.exit_code == 0, (done.output, done.exception)
    assert f"{SOURCE}/juggernaut.safetensors" in done.output
    assert f"{repository}/unet/config.json" in done.output
    assert str(civitai_file(SOURCE)) in done.output
    site.hub.asked.clear()
    assert CliRunner().invoke(commands, ["pull", SOURCE]).exit_code == 0
    assert site.hub.asked == []
    added = CliRunner().invoke(commands, ["models", "add", SOURCE, "--models", str(tmp_path)])
    assert added.exit_code == 0, (added.output, added.exception)
    card = load_catalog((tmp_path,), ()).endpoints["juggernaut"]
    assert (card.source, card.config) == (SOURCE, repository)
    site.hub.asked.clear()
    fetch_missing(Model(card))
    assert site.hub.asked == []


def test_a_lora_is_pulled_by_itself(site: Site, ink: bytes) -> None:
    site.put(NAME, ink)
    for _ in range(2):
        done = CliRunner().invoke(commands, ["pull", SOURCE])
        assert done.exit_code == 0, (done.output, done.exception)
        assert f"all of it is here: {civitai_file(SOURCE)}" in done.output
