"""What agents tell of lost packets, on the server's board: listed, chosen, followed, forgotten."""

import asyncio

import pytest
import serverkit

from mizar.plan import stream

SPOOFED = stream.Drop("SPOOFED_MAC", 3, 300, "acme", "a", 1, 2.0, "10.0.0.2", "10.0.0.9")
NOBODYS = stream.Drop("UPLINK_TX_ERRORS", 7, 0)


@pytest.fixture
def server(tmp_path):
    server = serverkit.Server(tmp_path, tcp=True).start()
    yield server
    server.stop()
    assert "bug" not in server.log(), server.log()


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


async def listed(client, path="/v1/drops", **query):
    answer = await asyncio.to_thread(client.get, path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def lossy(agents, client):
    """Hosts h1 and h2, endpoint acme/a on h1 in VPC prod; h1 has told of four rows."""
    h1, h2 = await agents.join("h1", "h2")
    await asyncio.to_thread(serverkit.apply, client, *serverkit.shop(["a"], ["h1"]))
    vpc = (await asyncio.to_thread(client.get, "/v1/tenants/acme/vpcs/prod")).json()
    vni = vpc["status"]["vni"]
    rows = [
        SPOOFED,
        stream.Drop("NO_ENDPOINT", 5, 500, vni=vni),
        stream.Drop("NOT_HERE", 1, 100, vni=vni + 1000),
        NOBODYS,
    ]
    await h1.send(stream.Drops(rows, whole=True))
    await serverkit.eventually(lambda: len(client.get("/v1/drops").json()["items"]) == 4)
    return h1, h2


def test_rows_say_whose_the_packets_were_as_far_as_can_be_known(server, client):
    async def body(agents):
        await lossy(agents, client)
        whose = [(r["tenant"], r["endpoint"], r["vpc"]) for r in await listed(client)]
        assert whose == [
            ("acme", "a", "prod"), ("acme", "", "prod"), ("", "", ""), ("", "", "")
        ]  # fmt: skip

    serverkit.run(body, server)


@pytest.mark.parametrize(
    ("path", "query", "reasons"),
    [
        ("/v1/tenants/acme/drops", {}, ["SPOOFED_MAC", "NO_ENDPOINT"]),
        ("/v1/drops", {"endpoint": "a"}, ["SPOOFED_MAC"]),
        ("/v1/drops", {"reason": "NOT_HERE"}, ["NOT_HERE"]),
        ("/v1/drops", {"host": "h2"}, []),
        ("/v1/drops", {"vpc": "prod", "host": "h1"}, ["SPOOFED_MAC", "NO_ENDPOINT"]),
    ],
)
def test_rows_are_chosen(server, client, path, query, reasons):
    async def body(agents):
        await lossy(agents, client)
        assert [row["reason"] for row in await listed(client, path, **query)] == reasons

    serverkit.run(body, server)


def test_an_unknown_tenant_is_refused(client):
    assert client.get("/v1/tenants/none/drops").status_code == 404


def test_a_change_is_stamped_and_what_was_there_before_is_not(server, client):
    async def body(agents):
        h1, _ = await lossy(agents, client)
        more = stream.Drop("UPLINK_TX_ERRORS", 9, 0, rate=2.0)
        await h1.send(stream.Drops([more]))
        await serverkit.eventually(
            lambda: client.get("/v1/drops").json()["items"][-1]["packets"] == 9
        )
        stamps = {row["reason"]: bool(row["seen"]) for row in await listed(client)}
        assert stamps == {
            "SPOOFED_MAC": False, "NO_ENDPOINT": False, "NOT_HERE": False, "UPLINK_TX_ERRORS": True
        }  # fmt: skip

    serverkit.run(body, server)


def test_rows_that_are_gone_and_rows_of_hosts_that_have_left_vanish(server, client):
    async def body(agents):
        h1, h2 = await lossy(agents, client)
        await h2.send(stream.Drops([NOBODYS], whole=True))
        await h1.send(stream.Drops([], gone=[SPOOFED.key]))
        await serverkit.eventually(lambda: len(client.get("/v1/drops").json()["items"]) == 4)
        await serverkit.eventually(
            lambda: client.get("/v1/drops", params={"endpoint": "a"}).json()["items"] == []
        )
        await h1.send(stream.Drops([NOBODYS], whole=True))
        await serverkit.eventually(lambda: len(client.get("/v1/drops").json()["items"]) == 2)
        await h1.disconnect()
        await serverkit.eventually(
            lambda: [r["host"] for r in client.get("/v1/drops").json()["items"]] == ["h2"]
        )

    serverkit.run(body, server)


def test_a_watch_tells_what_there_is_and_then_each_row_that_changes(server, client):
    async def body(agents):
        h1, _ = await lossy(agents, client)

        def follow(told):
            with serverkit.watching(client, "/v1/tenants/acme/drops?watch=true") as events:
                for event in events:
                    told.append(event)
                    if event.get("object", {}).get("packets") == 6:
                        return

        told = []
        following = asyncio.create_task(asyncio.to_thread(follow, told))
        await serverkit.eventually(lambda: len(told) == 3)
        await h1.send(stream.Drops([NOBODYS]))
        await h1.send(stream.Drops([stream.Drop("SPOOFED_MAC", 6, 600, "acme", "a", 1)]))
        await asyncio.wait_for(following, 5)
        assert [event["type"] for event in told] == ["put", "put", "synced", "put"]
        assert told[-1]["object"]["reason"] == "SPOOFED_MAC"

    serverkit.run(body, server)


def test_the_board_has_room_for_so_many_rows_and_says_what_it_left_out(server, client):
    server.stop()
    server.code = server.code.replace("main.run(", "drops.LOSSES_HOST_MAX = 2; main.run(")
    server.code = server.code.replace("import controller,", "import controller, drops,")
    server.start()

    async def body(agents):
        h1 = await agents.join("h1")
        rows = [stream.Drop("NOT_HERE", n + 1, 1, vni=n + 100) for n in range(5)]
        await h1.send(stream.Drops(rows, whole=True))
        told = await serverkit.eventually(lambda: client.get("/v1/drops").json()["items"])
        assert [row["packets"] for row in told] == [1, 2]
        assert client.get("/v1/drops").json()["omitted"] == 3

    serverkit.run(body, server)
