"""Gateways that were alone become fronts of one database, at once or one after the other."""

import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from gateway.accounts.keys import KeyFileError, KeyStore
from gateway.catalog.collection import Collection, Folders
from gateway.cli.keys import keys as keys_command
from gateway.errors import DatabaseUnavailable
from gateway.fronts.adapters import SharedBoard
from gateway.fronts.commons import Commons
from gateway.fronts.holdings import Alone, has_keys, signer_of
from gateway.runs.durable.database import NewerDatabase, close_database, open_database
from gateway.runs.durable.schema import metadata, schema
from gateway.settings import Settings, SettingsError
from tests.runs import house, postgres
from tests.runs.house import until
from tests.small_engine import small_catalog


@pytest.fixture
def database(postgres_server: postgres.Server) -> str:
    return postgres_server.new_database()


@asynccontextmanager
async def front(settings: Settings) -> AsyncIterator[Commons]:
    """A front that hears of the others."""
    opened, served = Commons(settings), Collection.of(small_catalog())
    async with opened.followed(served, Folders(), lambda: None):
        yield opened


def typed(database: str, data: Path, *words: str) -> Result:
    """`gateway keys`, as it is typed beside a database."""
    options = ["--database", database, "--data", str(data)]
    return CliRunner().invoke(keys_command, [*words, *options])


async def test_what_starts_at_one_moment_makes_one_database(database: str, tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def start(number: int) -> Commons:
        together.wait()
        return Commons(Settings(data=tmp_path / str(number), database=database))

    with ThreadPoolExecutor(4) as threads:
        started = list(threads.map(start, range(4)))
    url = started[0].signer.sign("url")
    assert all(one.signer.sign("url") == url for one in started)
    for one in started:
        async with one.followed(Collection.of(small_catalog()), Folders(), lambda: None):
            pass


async def test_a_folder_brings_its_keys_and_its_urls(database: str, tmp_path: Path) -> None:
    alone = Alone(Settings(data=tmp_path))
    (key, secret), (old, gone) = (alone.keys.create(name) for name in ("shop", "old"))
    url = alone.signer.sign("url")
    settings = Settings(data=tmp_path, database=database)
    assert has_keys(settings)
    async with front(settings) as joined:
        assert joined.keys.find(secret) == key
        assert joined.signer.is_signed("url", url)
        assert joined.keys.revoke(old.id)
    async with front(settings) as again:
        assert again.keys.find(secret) == key
        assert again.keys.find(gone) is None, "the folder brought a revoked key back"
    for change in (lambda: alone.keys.create("new"), lambda: alone.keys.revoke(key.id)):
        with pytest.raises(KeyFileError, match="--database"):
            change()
    assert KeyStore(tmp_path).find(secret) == key, "the folder alone is as it was"


async def test_fronts_that_had_secrets_of_their_own_know_both(
    database: str, tmp_path: Path
) -> None:
    folders = [Settings(data=tmp_path / name) for name in ("one", "two")]
    urls = [Alone(settings).signer.sign("url") for settings in folders]
    first, second = (Settings(data=one.data, database=database) for one in folders)
    async with front(first) as one:
        assert not one.signer.is_signed("url", urls[1])
        async with front(second) as two:
            assert [two.signer.is_signed("url", url) for url in urls] == [True, True]
            assert two.signer.sign("url") == urls[0], "all sign with the first's"

            async def has_heard() -> bool:
                return one.signer.is_signed("url", urls[1])

            assert await until(has_heard)
            assert one.signer.sign("url") == urls[0]
    assert len(signer_of(first).webhook_secrets()) == 2


async def test_keys_are_made_and_revoked_by_the_command_line(
    database: str, tmp_path: Path
) -> None:
    async with front(Settings(data=tmp_path / "front", database=database)) as running:
        secret = typed(database, tmp_path / "cli", "create", "shop").stdout.strip()

        async def is_known() -> bool:
            return running.keys.find(secret) is not None

        async def is_forgotten() -> bool:
            return running.keys.find(secret) is None

        assert await until(is_known)
        assert "shop" in typed(database, tmp_path / "cli", "list").stdout
        key = running.keys.find(secret)
        assert key is not None
        shown = typed(database, tmp_path / "cli", "webhook-secret", key.id).stdout.strip()
        assert shown == key.webhook_secret
        assert "last key" in typed(database, tmp_path / "cli", "revoke", key.id).stderr
        assert await until(is_forgotten)
        own = typed(database, tmp_path / "cli", "webhook-secret").stdout.strip()
        assert own == running.signer.webhook_secrets()[0]
    assert not (tmp_path / "cli" / "keys.json").exists()


@pytest.mark.parametrize("change", ["version", "table", "column"])
def test_a_newer_gateways_database_is_refused_with_a_sentence(
    database: str, tmp_path: Path, change: str
) -> None:
    settings = Settings(data=tmp_path, database=database)
    engine = open_database(settings)
    with engine.begin() as connection:
        match change:
            case "version":
                connection.execute(sa.update(schema).values(version=99))
            case "table":
                connection.exec_driver_sql("CREATE TABLE gateway_dreams (id int)")
            case "column":
                connection.exec_driver_sql("ALTER TABLE gateway_keys ADD COLUMN dream int")
    close_database(engine)
    refused = typed(database, tmp_path, "list")
    assert isinstance(refused.exception, SettingsError)
    assert "GATEWAY_DATABASE: it" in str(refused.exception)
    assert "postgres" not in str(refused.exception), "a URL may hold a password"


async def test_fronts_that_run_go_on_beside_a_newer_one(database: str, tmp_path: Path) -> None:
    one, other, late = (
        Settings(data=tmp_path / name, database=database) for name in ("one", "other", "late")
    )
    async with (
        front(one) as running,
        front(other) as beside,
        house.opened(one.data, database) as runs,
    ):
        engine = sa.create_engine(sa.make_url(database).set(drivername="postgresql+psycopg"))
        with engine.begin() as connection:
            connection.execute(sa.update(schema).values(version=99))
            connection.exec_driver_sql("CREATE TABLE gateway_dreams (id int)")
            for table in metadata.tables:
                if table != schema.name:
                    connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN dream int")
        engine.dispose()
        with pytest.raises(NewerDatabase):
            Commons(late)
        _, secret = running.keys.create("shop")

        async def is_known() -> bool:
            return beside.keys.find(secret) is not None

        assert await until(is_known)
        (run,) = await house.draw(runs, house.order())
        assert run.status == "success"
        assert await runs.outputs(run.id)


@contextmanager
def boards(database: str, tmp_path: Path) -> Iterator[list[tuple[SharedBoard, Collection]]]:
    """The boards of two fronts, and what each of them serves."""
    with ExitStack() as held:
        made = []
        for _ in range(2):
            engine = open_database(Settings(data=tmp_path, database=database))
            held.callback(close_database, engine)
            made.append((SharedBoard(engine), Collection.of(small_catalog())))
        yield made


async def test_adapters_loaded_at_one_front_are_served_at_others(
    database: str, tmp_path: Path
) -> None:
    places = []
    for name in ("one", "two"):
        place = tmp_path / name / "tiny"
        place.mkdir(parents=True)
        places.append(Folders(adapters=(tmp_path / name,)))
    (tmp_path / "one" / "tiny" / "ink.safetensors").write_bytes(b"weights")
    with boards(database, tmp_path) as ((one, _), (other, served)):
        await one.loaded("tiny:ink", "ink", "tiny/ink.safetensors")
        assert not other.hear(served, places[1])
        assert "tiny:ink" not in ids(served), "its file is not here"
        other.hear(served, places[0])
        assert "tiny:ink" not in ids(served), "it is tried again in a while"
        await one.loaded("tiny:ink", "ink", "tiny/ink.safetensors")
        other.hear(served, places[0])
        assert "tiny:ink" in ids(served)
        assert served.now().resolve("ink").id == "tiny:ink"
        await other.unloaded("tiny:ink", "ink")
        await one.unloaded("tiny:style", "tiny:style")
        assert other.hear(served, places[0])
        assert "tiny:style" not in ids(served)
        assert "tiny:ink" in ids(served), "what it said itself it has done itself"
        late = Collection.of(small_catalog())
        SharedBoard(other._engine).hear(late, places[0])
        assert ids(late) & {"tiny:ink", "tiny:style"} == set(), "one that starts later hears all"


async def test_nobody_is_told_that_all_serve_what_only_one_would(tmp_path: Path) -> None:
    nobody = f"postgresql+psycopg://postgres@127.0.0.1:{postgres.free_port()}/none"
    with pytest.raises(DatabaseUnavailable):
        await SharedBoard(sa.create_engine(nobody)).loaded("tiny:ink", "ink", "ink")


def ids(collection: Collection) -> set[str]:
    """The models that are served now."""
    return {model.id for model in collection.now().models()}
