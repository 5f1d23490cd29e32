"""Who has changed what fronts share: a count for each subject, raised with every change."""

from collections.abc import Mapping
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from gateway.runs.durable.schema import changes

Subject = Literal["secrets", "keys", "adapters"]


def tell(connection: sa.Connection, subject: Subject) -> int:
    """Count a change in its own transaction; who changes the same meanwhile waits for its end."""
    query = postgresql.insert(changes).values(subject=subject, number=1)
    raised = query.on_conflict_do_update(
        index_elements=["subject"], set_={"number": changes.c.number + 1}
    )
    number: int = connection.execute(raised.returning(changes.c.number)).scalar_one()
    return number


def seen(connection: sa.Connection) -> Mapping[str, int]:
    """How often each subject has changed by now."""
    found = connection.execute(sa.select(changes.c.subject, changes.c.number))
    return {row.subject: row.number for row in found}
