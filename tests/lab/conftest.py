"""One lab for each uplink mode, with the two tenants of the example."""

from collections.abc import Iterator

import labkit
import pytest

from mizar.lab import fleet


@pytest.fixture(scope="session", params=["tcx", "xdp"])
def lab(request: pytest.FixtureRequest) -> Iterator[fleet.Lab]:
    """A lab of four hosts in one mode; what a test adds it removes."""
    with fleet.Lab(labkit.lab_name(request.param), mode=request.param) as running:
        running.apply(labkit.EXAMPLE.read_text())
        running.wait_ready()
        yield running
