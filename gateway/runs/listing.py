"""An owner's runs page by page, without what they draw: an order may have a megabyte."""

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from gateway.runs.durable.schema import runs
from gateway.runs.records import ENDED, Status


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A run as lists show it."""

    number: int
    id: str
    status: Status
    created_at: float
    updated_at: float
    started_at: float | None
    ended_at: float | None
    labels: dict[str, str]


class _Labelled(msgspec.Struct, frozen=True):
    """All that is read of an order."""

    labels: dict[str, str] = msgspec.field(default_factory=dict)


_COLUMNS = [runs.c[name] for name in Listed.__struct_fields__ if name != "labels"]


def page(
    engine: sa.Engine, owner: str, before: int | None, limit: int, labels: Mapping[str, str]
) -> tuple[list[Listed], int | None]:
    """Up to so many runs, newest first, that have all of the labels.

    Returns them with the number that the next page is before, None where this is the last.
    """
    query = sa.select(*_COLUMNS, runs.c.order).where(runs.c.owner == owner)
    if before is not None:
        query = query.where(runs.c.number < before)
    for pair in labels.items():
        query = query.where(runs.c.order.contains(_written(*pair), autoescape=True))
    found: list[Listed] = []
    query = query.order_by(runs.c.number.desc()).execution_options(yield_per=1)
    with engine.connect() as connection:
        for row in connection.execute(query).mappings():
            listed = _listed(row)
            if labels.items() <= listed.labels.items():  # else it is in what was drawn
                if len(found) == limit:
                    return found, found[-1].number
                found.append(listed)
    return found, None


def is_awaited(engine: sa.Engine, owner: str, name: str) -> bool:
    """Whether a run that has not ended names something."""
    named = runs.c.order.contains(msgspec.json.encode(name).decode(), autoescape=True)
    query = sa.select(runs.c.id).where(runs.c.owner == owner, runs.c.status.not_in(ENDED), named)
    with engine.connect() as connection:
        return connection.execute(query.limit(1)).first() is not None


def _written(name: str, value: str) -> str:
    """A label as it stands in an order."""
    return msgspec.json.encode({name: value}).decode()[1:-1]


def _listed(row: Any) -> Listed:
    known = {column.name: row[column.name] for column in _COLUMNS}
    return Listed(**known, labels=msgspec.json.decode(row["order"], type=_Labelled).labels)
