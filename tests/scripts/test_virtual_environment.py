"""`.venv/` is made once, and made anew when an installation died in it."""

from pathlib import Path

import pytest

from install import virtual_environment
from install.errors import SetupError


def test_an_environment_in_which_an_installation_died_is_made_anew_and_then_kept(tmp_path: Path) -> None:
    folder = tmp_path / ".venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").symlink_to("/nowhere/python3.10")
    (folder / "installing").touch()

    virtual_environment.make(folder)
    assert virtual_environment.interpreter(folder).exists()
    assert not (folder / "installing").exists()

    (folder / "kept").touch()
    virtual_environment.make(folder)
    assert (folder / "kept").exists()


def test_a_folder_of_wheels_must_exist(tmp_path: Path) -> None:
    assert virtual_environment.wheel_folder({}) is None
    assert virtual_environment.wheel_folder({"EDGED_WHEELS": str(tmp_path)}) == tmp_path
    with pytest.raises(SetupError, match="EDGED_WHEELS is /nowhere, which is no folder"):
        virtual_environment.wheel_folder({"EDGED_WHEELS": "/nowhere"})


def test_a_full_disk_and_a_missing_network_are_told_apart() -> None:
    full = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    offline = "ERROR: Could not find a version that satisfies the requirement x (from versions: none)"
    assert "is full. Make room" in virtual_environment.explain(full, Path("/v"))
    assert "cannot be reached" in virtual_environment.explain(offline, Path("/v"))
    assert virtual_environment.explain("ERROR: hash", Path("/v")) == "Installing packages failed: hash"
