"""Workflows with their versions, deployments of them, and uploaded files."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
import sqlalchemy as sa

from gateway.runs.durable.schema import deployments, file_hashes, files, versions, workflows

T = TypeVar("T")
SWEPT_AT_ONCE = 200
_FILES = sa.select(files, file_hashes.c.hash).outerjoin(
    file_hashes, file_hashes.c.file_id == files.c.id
)


class Version(msgspec.Struct, frozen=True):
    """One version of a workflow: its graph in API format."""

    id: str
    workflow_id: str
    version: int
    graph: dict[str, Any]
    created_at: float


class Workflow(msgspec.Struct, frozen=True):
    """A named series of graphs, newest version first."""

    id: str
    owner: str
    name: str
    created_at: float
    updated_at: float
    versions: tuple[Version, ...] = ()


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a workflow offered under an id."""

    id: str
    owner: str
    workflow_id: str
    workflow_version_id: str
    machine_id: str
    environment: str
    created_at: float
    updated_at: float


class File(msgspec.Struct, frozen=True):
    """An uploaded file."""

    id: str
    owner: str
    name: str
    content_type: str
    size_bytes: int
    created_at: float
    hash: str | None = None
    """`blake3:` and its hex, where all bytes came at once."""

    @property
    def key(self) -> str:
        """Where the store keeps it."""
        return f"inputs/{self.id}"


class Library:
    """Queries on what runs are made from; each owner sees its own."""

    def __init__(self, engine: sa.Engine, threads: Executor) -> None:
        self.engine = engine
        self.threads = threads

    async def workflows(self, owner: str) -> list[Workflow]:
        """An owner's workflows, newest change first."""
        return await self.in_thread(self._workflows, workflows.c.owner == owner)

    async def workflow(self, workflow_id: str, owner: str) -> Workflow | None:
        """A workflow with all its versions."""
        mine = sa.and_(workflows.c.owner == owner, workflows.c.id == workflow_id)
        found = await self.in_thread(self._workflows, mine)
        return found[0] if found else None

    async def version(self, version_id: str, owner: str) -> Version | None:
        """One version of an owner's workflow."""
        return await self.in_thread(self._version, version_id, owner)

    async def create_workflow(self, owner: str, name: str, graph: dict[str, Any]) -> Workflow:
        """Store a workflow with its first version."""
        return await self.in_thread(self._create_workflow, owner, name, graph)

    async def add_version(self, workflow: Workflow, graph: dict[str, Any]) -> Version:
        """Store a workflow's next version."""
        return await self.in_thread(self._add_version, workflow, graph)

    async def deployments(self, owner: str) -> list[Deployment]:
        """An owner's deployments, newest first."""
        query = sa.select(deployments).where(deployments.c.owner == owner)
        query = query.order_by(deployments.c.created_at.desc())
        return await self.in_thread(self._rows, query, Deployment)

    async def deployment(self, deployment_id: str, owner: str) -> Deployment | None:
        """One deployment."""
        query = sa.select(deployments).where(
            deployments.c.owner == owner, deployments.c.id == deployment_id
        )
        found = await self.in_thread(self._rows, query, Deployment)
        return found[0] if found else None

    async def deploy(self, deployment: Deployment) -> Deployment:
        """Store a deployment; one of the same workflow and environment keeps its id."""
        return await self.in_thread(self._deploy, deployment)

    async def file(self, name: str, owner: str) -> File | None:
        """The latest uploaded file of an id or a name."""
        return await self._file(owner, sa.or_(files.c.id == name, files.c.name == name))

    async def file_of_id(self, file_id: str, owner: str) -> File | None:
        """The uploaded file of an id."""
        return await self._file(owner, files.c.id == file_id)

    async def file_of_hash(self, hash: str, owner: str) -> File | None:
        """The latest uploaded file of such bytes."""
        return await self._file(owner, file_hashes.c.hash == hash)

    async def _file(self, owner: str, condition: sa.ColumnElement[bool]) -> File | None:
        query = _FILES.where(files.c.owner == owner, condition)
        latest = query.order_by(files.c.created_at.desc()).limit(1)
        found = await self.in_thread(self._rows, latest, File)
        return found[0] if found else None

    async def pictures(self, owner: str, limit: int) -> list[str]:
        """The names of the pictures that an owner uploaded last."""
        is_picture = files.c.content_type.startswith("image/")
        query = sa.select(files).where(files.c.owner == owner, is_picture)
        query = query.order_by(files.c.created_at.desc()).limit(limit)
        found = await self.in_thread(self._rows, query, File)
        return list(dict.fromkeys(file.name for file in found))

    async def add_file(self, file: File) -> None:
        """Write an upload down; the same id again replaces it."""
        await self.in_thread(self._put_file, file)

    async def files_before(self, when: float) -> list[File]:
        """Files uploaded before a time, some at once."""
        query = _FILES.where(files.c.created_at < when).limit(SWEPT_AT_ONCE)
        return await self.in_thread(self._rows, query, File)

    async def remove_file(self, file_id: str) -> None:
        """Forget an upload."""
        await self.in_thread(self._remove_file, file_id)

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run what blocks outside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, work, *arguments)

    def _remove_file(self, file_id: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.delete(files).where(files.c.id == file_id))
            connection.execute(sa.delete(file_hashes).where(file_hashes.c.file_id == file_id))

    def _put_file(self, file: File) -> None:
        values = msgspec.structs.asdict(file)
        hash = values.pop("hash")
        with self.engine.begin() as connection:
            _put(connection, files.c.id, values)
            if hash is not None:
                values = {"file_id": file.id, "owner": file.owner, "hash": hash}
                _put(connection, file_hashes.c.file_id, values)

    def _rows(self, query: Any, kind: Callable[..., T]) -> list[T]:
        with self.engine.connect() as connection:
            rows = connection.execute(query).mappings()
            return [kind(**row) for row in rows]

    def _workflows(self, condition: sa.ColumnElement[bool]) -> list[Workflow]:
        query = sa.select(workflows).where(condition).order_by(workflows.c.updated_at.desc())
        with self.engine.connect() as connection:
            found = [Workflow(**row) for row in connection.execute(query).mappings()]
            mine = versions.c.workflow_id.in_([workflow.id for workflow in found])
            rows = connection.execute(
                sa.select(versions).where(mine).order_by(versions.c.version.desc())
            ).mappings()
            all_versions = [_version(row) for row in rows]
        return [
            msgspec.structs.replace(
                workflow,
                versions=tuple(v for v in all_versions if v.workflow_id == workflow.id),
            )
            for workflow in found
        ]

    def _version(self, version_id: str, owner: str) -> Version | None:
        query = sa.select(versions).join(workflows, workflows.c.id == versions.c.workflow_id)
        query = query.where(versions.c.id == version_id, workflows.c.owner == owner)
        with self.engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        return _version(row) if row else None

    def _create_workflow(self, owner: str, name: str, graph: dict[str, Any]) -> Workflow:
        now = time.time()
        workflow = Workflow(str(uuid4()), owner, name, now, now)
        values = msgspec.structs.asdict(workflow)
        del values["versions"]
        with self.engine.begin() as connection:
            connection.execute(sa.insert(workflows).values(values))
        first = self._add_version(workflow, graph)
        return msgspec.structs.replace(workflow, versions=(first,))

    def _add_version(self, workflow: Workflow, graph: dict[str, Any]) -> Version:
        now = time.time()
        mine = versions.c.workflow_id == workflow.id
        with self.engine.begin() as connection:
            touched = sa.update(workflows).where(workflows.c.id == workflow.id)
            connection.execute(touched.values(updated_at=now))
            latest = connection.execute(sa.select(sa.func.max(versions.c.version)).where(mine))
            version = Version(str(uuid4()), workflow.id, (latest.scalar() or 0) + 1, graph, now)
            values = msgspec.structs.asdict(version)
            values["graph"] = msgspec.json.encode(graph).decode()
            connection.execute(sa.insert(versions).values(values))
        return version

    def _deploy(self, deployment: Deployment) -> Deployment:
        same = sa.and_(
            deployments.c.owner == deployment.owner,
            deployments.c.workflow_id == deployment.workflow_id,
            deployments.c.environment == deployment.environment,
        )
        values = msgspec.structs.asdict(deployment)
        with self.engine.begin() as connection:
            found = connection.execute(sa.select(deployments).where(same)).mappings().first()
            if found is None:
                connection.execute(sa.insert(deployments).values(values))
                return deployment
            values |= {"id": found["id"], "created_at": found["created_at"]}
            connection.execute(sa.update(deployments).where(same).values(values))
        return Deployment(**values)


def _put(connection: sa.Connection, key: sa.Column[Any], values: dict[str, Any]) -> None:
    """Write a row; two requests may write the same one at the same moment."""
    again = sa.update(key.table).where(key == values[key.name]).values(values)
    if connection.execute(again).rowcount:
        return
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(key.table).values(values))
    except sa.exc.IntegrityError:
        connection.execute(again)


def _version(row: Any) -> Version:
    graph = msgspec.json.decode(row["graph"])
    return Version(row["id"], row["workflow_id"], row["version"], graph, row["created_at"])
