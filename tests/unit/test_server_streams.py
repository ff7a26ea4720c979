"""From a manifest to Ready over real sockets: hosts that join, acknowledge, fail, go and return."""

import asyncio
import signal

import httpx
import msgspec
import pytest
import serverkit

from mizar.plan import entries, stream
from mizar.server import feed, hosts

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

    serverkit.run(body, server)


def moved_from(client):
    return client.get(f"/v1/{ACME}/endpoints/a").json()["status"]["movedFrom"]


def test_an_old_host_sends_on_until_a_while_after_the_new_one_is_ready(server, client):
    async def body(agents):
        h1, h2 = await agents.join("h1", "h2")
        await apply(client, *serverkit.shop(["a"], ["h1"]))
        await ready(client, f"{ACME}/endpoints/a")
        h2.mute = True
        await apply(client, serverkit.endpoint("a", "h2"))
        await serverkit.eventually(lambda: h1.table("moved"))
        assert not h1.table("endpoints")
        await asyncio.sleep(2 * serverkit.MOVE_LINGER_S)
        assert moved_from(client) == "h1", "it isn't Ready yet"
        await h2.ack()
        h2.mute = False
        await ready(client, f"{ACME}/endpoints/a")
        assert h1.table("moved")
        await serverkit.eventually(lambda: not moved_from(client) and not h1.table("moved"))
        assert serverkit.phase(client, f"{ACME}/endpoints/a") == "Ready"

    serverkit.run(body, server)


def test_where_an_endpoint_moved_to_is_sent_before_its_own_entry_goes():
    moved = entries.MovedEntry(7, "10.0.0.5", "192.0.2.2", 0, 9)
    route = entries.RouteEntry(7, "::/0", "router", 0, ["192.0.2.1"])
    news = feed.Update(9, [route, moved], [("endpoints", "u5", "")])
    assert hosts.in_order(news) == [moved, ("endpoints", "u5", ""), route]


def test_a_move_goes_on_without_the_old_host_and_ends_after_a_restart(server, client):
    async def body(agents):
        h1, h2 = await agents.join("h1", "h2")
        await apply(client, *serverkit.shop(["a"], ["h1"]))
        await ready(client, f"{ACME}/endpoints/a")
        await h1.disconnect()
        await apply(client, serverkit.endpoint("a", "h2"))
        await serverkit.eventually(lambda: serverkit.phase(client, "hosts/h1") == "Pending")
        await ready(client, f"{ACME}/endpoints/a")
        assert moved_from(client) == "h1"
        await h2.disconnect()
        await asyncio.to_thread(server.stop, signal.SIGKILL)
        await asyncio.to_thread(server.start)
        await serverkit.eventually(lambda: not moved_from(client))

    serverkit.run(body, server)


def test_ready_waits_for_every_live_host_that_needs_the_resource(server, client):
    async def body(agents):
        _, h2 = await agents.join("h1", "h2")
        await apply(client, *serverkit.shop())
        await ready(client, f"{ACME}/networks/web")
        h2.mute = True
        await apply(client, serverkit.endpoint("a", "h1"))
        await serverkit.eventually(
            lambda: serverkit.message(client, f"{ACME}/endpoints/a") == "waiting for host h2"
        )
        assert serverkit.phase(client, f"{ACME}/endpoints/a") == "Pending"
        await h2.ack()
        await ready(client, f"{ACME}/endpoints/a")
        assert not serverkit.message(client, f"{ACME}/endpoints/a")

    serverkit.run(body, server)


def test_an_endpoint_on_a_host_without_agent_waits_and_says_for_whom(server, client):
    async def body(agents):
        await agents.join("h1")
        await apply(client, serverkit.resource("Host", "h2", address="192.0.2.9"))
        await apply(client, *serverkit.shop(["a"], ["h2"]))
        path = f"{ACME}/endpoints/a"
        await serverkit.eventually(
            lambda: "host h2 (not connected)" in serverkit.message(client, path)
        )
        await agents.join("h2", address="192.0.2.9")
        await ready(client, path)

    serverkit.run(body, server)


def test_a_dead_holder_blocks_nobody_and_the_host_says_so(server, client):
    async def body(agents):
        _, h2 = await agents.join("h1", "h2")
        await apply(client, *serverkit.shop())
        await ready(client, f"{ACME}/networks/web", "hosts/h2")
        h2.mute = True
        await apply(client, serverkit.endpoint("a", "h1"))
        await h2.disconnect()
        path = f"{ACME}/endpoints/a"
        await serverkit.eventually(
            lambda: serverkit.message(client, "hosts/h2") == "agent not connected"
        )
        assert serverkit.phase(client, path) == "Pending"
        await ready(client, path)
        assert serverkit.phase(client, "hosts/h2") == "Pending"
        h2.mute = False
        await h2.connect()
        await ready(client, "hosts/h2")
        assert {entry.address for entry in h2.table("switch_endpoints")} == {"10.0.0.2"}

    serverkit.run(body, server)


def holders(client):
    return client.get(f"/v1/{ACME}/networks/web").json()["status"]["switches"]


def test_tables_of_a_dead_host_move_and_endpoints_wait_for_that(server, client):
    async def body(agents):
        fleet = {agent.hello.host: agent for agent in await agents.join("h1", "h2", "h3", "h4")}
        await ready(client, *(f"hosts/{name}" for name in fleet))
        await apply(client, *serverkit.shop())
        await ready(client, f"{ACME}/networks/web", f"{ACME}/vpcs/prod")
        dead, stays = holders(client)
        for name in fleet.keys() - {dead, stays}:
            fleet[name].mute = True
        await fleet[dead].disconnect()
        await apply(client, serverkit.endpoint("a", stays))
        path = f"{ACME}/endpoints/a"
        await serverkit.eventually(lambda: dead not in holders(client))
        (taker,) = set(holders(client)) - {stays}
        await apply(client, serverkit.endpoint("b", stays))
        for name in ("a", "b"):
            await serverkit.eventually(
                lambda name=name: (
                    "waiting for" in serverkit.message(client, f"{ACME}/endpoints/{name}")
                )
            )
            assert serverkit.phase(client, f"{ACME}/endpoints/{name}") == "Pending"
        for name in fleet.keys() - {dead, stays}:
            fleet[name].mute = False
            await fleet[name].ack()
        await ready(client, path, f"{ACME}/endpoints/b", f"{ACME}/networks/web")
        assert len(fleet[taker].table("switch_endpoints")) == 2
        for route in fleet[stays].table("routes"):
            assert fleet[dead].hello.address not in route.holders
        await fleet[dead].connect()
        await ready(client, f"hosts/{dead}")
        assert holders(client) == sorted([stays, taker])
        assert fleet[dead].table("switch_endpoints") == []

    serverkit.run(body, server)


def test_when_most_of_the_fleet_is_gone_nothing_moves(server, client):
    async def body(agents):
        fleet = await agents.join("h1", "h2", "h3", "h4")
        await ready(client, *(f"hosts/h{n}" for n in range(1, 5)))
        await apply(client, *serverkit.shop())
        await ready(client, f"{ACME}/networks/web")
        before = holders(client)
        gone = [agent for agent in fleet if agent.hello.host in before]
        gone += [agent for agent in fleet if agent not in gone][:1]
        await asyncio.gather(*(agent.disconnect() for agent in gone))
        (left,) = {"h1", "h2", "h3", "h4"} - {agent.hello.host for agent in gone}
        await apply(client, serverkit.endpoint("a", left))
        await ready(client, f"{ACME}/endpoints/a")
        assert holders(client) == before

    serverkit.run(body, server)


def test_a_failure_is_told_and_taken_back(server, client):
    async def body(agents):
        h1 = await agents.join("h1")
        await apply(client, *serverkit.shop(["a"], ["h1"]))
        path = f"{ACME}/endpoints/a"
        await ready(client, path)
        (entry,) = h1.table("endpoints")
        h1.failures = [stream.Failure(entries.key_of(entry), "no such namespace")]
        await h1.ack()
        await serverkit.eventually(lambda: serverkit.phase(client, path) == "Failed")
        assert serverkit.message(client, path) == "host h1: no such namespace"
        h1.failures = []
        await h1.ack()
        await ready(client, path)

    serverkit.run(body, server)


def test_deleting_takes_the_entries_from_the_hosts(server, client):
    async def body(agents):
        h1 = await agents.join("h1")
        await apply(client, *serverkit.shop(["a"], ["h1"]))
        await ready(client, f"{ACME}/endpoints/a")
        refused = client.delete("/v1/hosts/h1")
        assert refused.status_code == 409
        assert "stop mizar agent" in refused.json()["error"]["message"]
        items = serverkit.shop(["a"], ["h1"])
        answer = client.post("/v1/delete", json={"kind": "List", "items": items})
        assert [one["action"] for one in answer.json()["results"]] == ["deleted"] * 4
        await serverkit.eventually(lambda: set(h1.entries) == {("host", "h1", "")})
        assert client.get(f"/v1/{ACME}/endpoints/a").status_code == 404

    serverkit.run(body, server)


def test_an_agent_resumes_with_deltas_and_after_a_restart_gets_a_snapshot(server, client):
    async def body(agents):
        h1 = await agents.join("h1")
        await apply(client, *serverkit.shop())
        await ready(client, f"{ACME}/networks/web", "hosts/h1")
        await h1.disconnect()
        await apply(client, serverkit.endpoint("a", "h1"))
        h1.updates.clear()
        await h1.connect()
        await ready(client, f"{ACME}/endpoints/a")
        assert not any(update.snapshot for update in h1.updates)
        before = dict(h1.entries)
        await h1.disconnect()
        assert server.stop(signal.SIGKILL) < 2
        server.start()
        h1.updates.clear()
        await h1.connect()
        await serverkit.eventually(lambda: h1.updates)
        assert h1.updates[0].snapshot
        await ready(client, "hosts/h1")
        assert h1.entries == before

    serverkit.run(body, server)


def test_an_agent_that_resumes_and_has_missed_nothing_hears_that_reports_are_taken(server, client):
    async def body(agents):
        await apply(client, *serverkit.shop())
        h1 = await agents.join("h1")
        await serverkit.eventually(lambda: h1.updates and h1.hello.revision)
        await h1.disconnect()
        h1.updates.clear()
        await h1.connect()
        await serverkit.eventually(lambda: h1.updates)
        [update] = h1.updates
        assert (update.reports, update.snapshot) == (True, False)
        assert (update.upserts, update.deletes) == ([], [])

    serverkit.run(body, server)


def test_a_revision_of_another_life_of_the_server_counts_for_nothing(server, client):
    async def body(agents):
        h1 = serverkit.Agent(server, "h1")
        h1.hello = msgspec.structs.replace(h1.hello, epoch="another", revision=1_000_000)
        await h1.connect()
        await serverkit.eventually(lambda: h1.updates)
        await h1.disconnect()
        assert h1.updates[0].snapshot

    serverkit.run(body, server)


def test_after_a_restart_ready_stays_ready_and_pending_goes_on(server, client):
    async def body(agents):
        h1, h2 = await agents.join("h1", "h2")
        await apply(client, *serverkit.shop(["a"], ["h1"]))
        await ready(client, f"{ACME}/endpoints/a", "hosts/h1", "hosts/h2")
        h1.mute = True
        await apply(client, serverkit.endpoint("b", "h1"))
        for agent in (h1, h2):
            await agent.disconnect()
        server.stop(signal.SIGKILL)
        revision = server.start() and client.get("/v1/endpoints").json()["revision"]
        for agent in (h1, h2):
            await agent.connect()
        await serverkit.eventually(lambda: h1.updates[-1].snapshot)
        assert serverkit.phase(client, f"{ACME}/endpoints/a") == "Ready"
        assert serverkit.phase(client, f"{ACME}/endpoints/b") == "Pending"
        await h1.ack()
        await ready(client, f"{ACME}/endpoints/b")
        with serverkit.watching(client, f"/v1/endpoints?watch=true&revision={revision}") as lines:
            told = next(lines), next(lines)
        names = [line["object"]["metadata"]["name"] for line in told if line["type"] == "put"]
        assert set(names) == {"b"}

    serverkit.run(body, server)


def test_a_host_that_joins_gets_its_part_and_turns_nothing_pending(server, client):
    async def body(agents):
        await agents.join("h1", "h2")
        await apply(client, *serverkit.shop(["a"], ["h1"]))
        paths = [f"{ACME}/endpoints/a", f"{ACME}/networks/web", f"{ACME}/vpcs/prod"]
        await ready(client, *paths)
        before = [client.get(f"/v1/{path}").json() for path in paths]
        h3 = await agents.join("h3")
        await ready(client, "hosts/h3")
        assert [client.get(f"/v1/{path}").json() for path in paths] == before
        assert set(h3.entries) == {("host", "h3", "")}

    serverkit.run(body, server)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"address": "198.51.100.1"}, "192.0.2.0/24"),
        ({"protocol": 99}, "run the same version"),
        ({"host": "other"}, "must be a Hello of host h9"),
    ],
)
def test_an_agent_that_does_not_fit_is_refused_with_the_reason(server, client, change, reason):
    async def body(agents):
        agent = serverkit.Agent(server, "h9")
        agent.hello = msgspec.structs.replace(agent.hello, **change)
        await agent.connect()
        await serverkit.eventually(lambda: agent.refusal)
        await agent.disconnect()
        assert reason in agent.refusal
        assert client.get("/v1/hosts").json()["items"] == []

    serverkit.run(body, server)


def test_a_second_agent_of_a_name_is_refused_while_the_first_is_live(server, client):
    async def body(agents):
        await agents.join("h1", address="192.0.2.1")
        await ready(client, "hosts/h1")
        other = await agents.join("h1", address="192.0.2.2")
        await serverkit.eventually(lambda: other.refusal)
        assert "is live with address 192.0.2.1" in other.refusal
        again = await agents.join("h1", address="192.0.2.1")
        await serverkit.eventually(lambda: again.updates)
        assert not again.refusal

    serverkit.run(body, server)


def test_a_slow_agent_gets_a_snapshot_and_the_server_keeps_no_queue_for_it(server, client):
    async def body(agents):
        _, slow = await agents.join("h1", "slow")
        await apply(client, *serverkit.shop(cidrs=["10.0.0.0/17"]))
        await ready(client, f"{ACME}/networks/web")
        slow.pause()
        names = [f"e{n}" for n in range(600)]
        for _ in range(10):
            await apply(client, *(serverkit.endpoint(name, "h1") for name in names))
            items = [serverkit.endpoint(name) for name in names]
            answer = await asyncio.to_thread(
                client.post, "/v1/delete", json={"kind": "List", "items": items}
            )
            assert answer.status_code == 200
        slow.updates.clear()
        slow.resume()
        await apply(client, serverkit.endpoint("last", "h1"))
        await ready(client, f"{ACME}/endpoints/last")
        assert any(update.snapshot for update in slow.updates)
        assert len(slow.table("switch_endpoints")) == 1

    serverkit.run(body, server)


def test_many_creates_at_once_share_commits_and_all_become_ready(server, client):
    async def body(agents):
        await agents.join("h1", "h2")
        await apply(client, *serverkit.shop())
        transport = httpx.AsyncHTTPTransport(uds=server.socket)
        async with httpx.AsyncClient(transport=transport, base_url="http://mizar") as many:
            posts = [
                many.post(f"/v1/{ACME}/endpoints", json=serverkit.endpoint(f"e{n}"))
                for n in range(200)
            ]
            answers = await asyncio.gather(*posts)
        assert {answer.status_code for answer in answers} == {201}
        addresses = {answer.json()["status"]["addresses"][0] for answer in answers}
        assert len(addresses) == 200
        await ready(client, *(f"{ACME}/endpoints/e{n}" for n in range(200)))

    serverkit.run(body, server)


def test_watches_show_what_is_there_then_changes_and_end_with_the_server(server, client):
    async def body(agents):
        await agents.join("h1")
        labelled = serverkit.endpoint("a", "h1")
        labelled["metadata"]["labels"] = {"tier": "web"}
        await apply(client, *serverkit.shop(), labelled, serverkit.endpoint("b", "h1"))
        await ready(client, f"{ACME}/endpoints/a", f"{ACME}/endpoints/b")
        path = f"/v1/{ACME}/endpoints?watch=true&labelSelector=tier=web"
        with server.client() as other, serverkit.watching(other, path) as lines:
            first = [next(lines), next(lines)]
            assert [line["type"] for line in first] == ["put", "synced"]
            assert first[0]["object"]["metadata"]["name"] == "a"
            labelled["metadata"]["labels"] = {}
            await apply(client, labelled)
            gone = await asyncio.to_thread(next, lines)
            assert (gone["type"], gone["object"]["metadata"]["name"]) == ("delete", "a")
            took = await asyncio.to_thread(server.stop)
            assert took < 2
            assert list(lines) == []

    serverkit.run(body, server)
