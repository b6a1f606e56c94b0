"""The table of who holds which attack names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_of_the_table_exists() -> None:
    tables = (ROOT / name for name in ("tests/attacks/README.md", "docs/security.md"))
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", "".join(table.read_text() for table in tables))

    assert len(named) > 20
    assert [name for file, name in named if f"def {name}(" not in (ROOT / file).read_text()] == []
