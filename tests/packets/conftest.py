"""The programs are loaded once; every test gets the host with its usual tables."""

from collections.abc import Iterator

import backplane
import pytest
import workload as workloads

from mizar.bpf import objects


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


@pytest.fixture(scope="session")
def endpoint_program() -> Iterator[objects.Collection]:
    with workloads.program() as loaded:
        yield loaded


@pytest.fixture
def workload(endpoint_program: objects.Collection) -> Iterator[workloads.Workload]:
    """A real kernel behind endpoint A's interface, without addresses."""
    with workloads.started(endpoint_program) as started:
        yield started
