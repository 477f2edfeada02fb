"""The random world and the demo's, written once a session."""

from __future__ import annotations

import pytest
from protocols.worlds import World, demo_world, random_world


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> World:
    """100 random pictures in each detection set, 2,100 sentences."""
    return random_world(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The demo's pictures under the real names."""
    return demo_world(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session", params=["drawn", "demo"])
def world(request: pytest.FixtureRequest) -> World:
    """Each of them."""
    return request.getfixturevalue(request.param)
