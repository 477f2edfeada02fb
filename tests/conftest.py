"""What tests share: where the real data lies."""

from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real annotation files and photos beside the repository; a stranger's clone has none."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real annotation files in ../shared/data, which are not part of the repository")
    return folder

# The machine may be busy with a model; how long an example takes says nothing here.
settings.register_profile("vr1bench", deadline=None)
settings.load_profile("vr1bench")
