"""What the tests of the installation share: the repository and a bare environment to provoke it in."""

from pathlib import Path

import pytest


@pytest.fixture
def root() -> Path:
    return Path(__file__).parents[2]


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment without network and with a home and a cache of its own."""
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PIP_INDEX_URL": "http://127.0.0.1:9/",  # the discard port: nobody listens
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_RETRIES": "0",
    }
