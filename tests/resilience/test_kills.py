"""SIGKILL at random moments loses nothing and doubles nothing."""

from pathlib import Path

from tests.resilience.kills import kills

NUM_KILLS = 5


async def test_what_was_accepted_is_finished(tmp_path: Path, database: str | None) -> None:
    row = await kills(tmp_path, database, NUM_KILLS)
    assert row.faults == ()
