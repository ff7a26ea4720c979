"""From a manifest to Ready over real sockets: hosts that join, acknowledge, fail, go and return."""

import asyncio

import pytest
import serverkit

ACME = "tenants/acme"


@pytest.fixture
def server(tmp_path):
    server = serverkit.Server(tmp_path).start()
    yield server
    if server.process.poll() is None:
        assert server.stop() < 2
    assert "bug" not in server.log(), server.log()


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


def run(body, server):
    """Runs ``body`` with the agents of this test."""

    async def whole():
        async with serverkit.Agents(server) as agents:
            await asyncio.wait_for(body(agents), 30)

    asyncio.run(whole())


async def ready(client, *paths):
    for path in paths:
        await serverkit.eventually(lambda path=path: serverkit.phase(client, path) == "Ready")


async def apply(client, *documents):
    return await asyncio.to_thread(serverkit.apply, client, *documents)


def test_a_manifest_becomes_entries_on_hosts_and_is_ready_once_acknowledged(server, client):
    async def body(agents):
        h1, h2 = await agents.join("h1", "h2")
        await ready(client, "hosts/h1", "hosts/h2")
        await apply(client, *serverkit.shop(["a", "b"], ["h1", "h2"]))
        await ready(client, "tenants/acme", f"{ACME}/vpcs/prod", f"{ACME}/networks/web")
        await ready(client, f"{ACME}/endpoints/a", f"{ACME}/endpoints/b")
        assert [entry.name for entry in h1.table("endpoints")] == ["a"]
        assert [entry.name for entry in h2.table("endpoints")] == ["b"]
        assert len(h1.table("switch_endpoints")) == 2

    run(body, server)
