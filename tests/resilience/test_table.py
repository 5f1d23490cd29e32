"""The README's table is what the JSON beside it says."""

from tests.resilience import table
from tests.resilience.row import Row


def test_a_row_is_one_line_and_says_how_it_ended() -> None:
    good = Row("ten kills", "nothing is lost", "nothing was | lost")
    assert table.line(table.kept("kills", good, 1.4)).count("|") == 7
    lost = tuple(f"run {number} is lost" for number in range(9))
    bad = Row("ten kills", "nothing is lost", "of 40 runs", lost)
    line = table.line(table.kept("kills", bad, 1.4))
    assert "**FAIL**" in line
    assert "run 0 is lost" in line
    assert "and 4 more" in line
    assert "pass" not in line
