"""The programs are loaded once; every test gets the host with its usual tables."""

from collections.abc import Iterator

import backplane
import pytest


@pytest.fixture(scope="session")
def loaded() -> Iterator[backplane.Host]:
    with backplane.loaded_host() as host:
        yield host


@pytest.fixture
def host(loaded: backplane.Host) -> backplane.Host:
    loaded.reset()
    return loaded


@pytest.fixture(params=["uplink_xdp", "uplink_tcx"])
def uplink(request: pytest.FixtureRequest) -> str:
    """Both programs of the uplink."""
    return str(request.param)
