"""`explain` and traces over the API, with agents that answer by script."""

import asyncio

import pytest
import serverkit

from mizar.plan import stream

A = "/v1/tenants/acme/endpoints/a"


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


async def shop(agents, client, *documents, reports=True):
    """Hosts h1 to h3, endpoints a and b on h1 and h2; by name."""
    joined = {name: await agents.join(name, reports=reports) for name in ("h1", "h2", "h3")}
    wanted = [*serverkit.shop(["a", "b"], ["h1", "h2"]), *documents]
    await asyncio.to_thread(serverkit.apply, client, *wanted)
    for name in ("a", "b"):
        path = f"tenants/acme/endpoints/{name}"
        await serverkit.eventually(lambda path=path: serverkit.phase(client, path) == "Ready")
    return joined


async def ask(client, method, path, **more):
    answer = await asyncio.to_thread(client.request, method, path, **more)
    return answer.status_code, answer.json()


async def requested(agent):
    return await serverkit.eventually(lambda: agent.traces and agent.traces[-1])


def test_explain_walks_from_the_endpoint_to_the_other_ones_host(server, client):
    async def body(agents):
        await shop(agents, client)
        status, answer = await ask(client, "GET", f"{A}/explain", params={"to": "b"})
        assert status == 200
        assert (answer["flow"]["source"], answer["flow"]["protocol"]) == ("10.0.0.2", "icmp")
        for course in (answer["first"], answer["next"]):
            assert (course["verdict"], course["endpoint"]) == ("delivered", "acme/b")
            assert course["host"] == "h2"
        direct = [step["reason"] for step in answer["next"]["steps"]]
        assert direct == ["SENT_DIRECT", "DELIVERED"]
        assert answer["notes"] == []

    serverkit.run(body, server)


def test_explain_says_what_makes_its_answer_uncertain(server, client):
    async def body(agents):
        joined = await shop(agents, client)
        await joined["h2"].disconnect()
        query = {"to": "b", "protocol": "tcp", "port": 80}

        def notes():
            return client.get(f"{A}/explain", params=query).json()["notes"]

        await serverkit.eventually(lambda: any("agent is not connected" in n for n in notes()))
        assert any("source port 40000 taken" in note for note in notes())

    serverkit.run(body, server)


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ({}, 404, "there is no such endpoint"),
        ({"to": "none"}, 404, "Endpoint acme/none: there is no such endpoint; name an endpoint"),
        ({"to": "beta/b"}, 404, "Endpoint beta/b: there is no such endpoint"),
        ({"to": "b", "protocol": "gre"}, 422, "'gre' is unknown; say icmp, tcp, udp"),
        ({"to": "b", "protocol": "tcp"}, 422, "tcp needs one; name the destination's port"),
        ({"to": "b", "port": "80"}, 422, "icmp has no ports; say protocol tcp or udp"),
        ({"to": "b", "protocol": "udp", "port": "70000"}, 422, "isn't between 0 and 65535"),
        ({"to": "b", "port": "x"}, 400, "query port: 'x' is not a number"),
        ({"to": "b", "bytes": "65536"}, 422, "65536 is no length of an IP packet"),
        ({"to": "b", "bytes": "27"}, 422, "no length of an IP packet that holds icmp; give 28 to"),
        ({"to": "other/b"}, 422, "it is in VPC other/prod, Endpoint acme/a in VPC acme/prod"),
        ({"to": "a"}, 422, "10.0.0.2 is its own address"),
        ({"to": "fd00::1"}, 422, "it has no IPv6 address to send to fd00::1 from"),
    ],
)
def test_questions_that_make_no_sense_are_refused(server, client, query, status, message):
    serverkit.apply(client, serverkit.resource("Host", "h1", address="192.0.2.1"))
    serverkit.apply(client, *serverkit.shop(["a", "b"], ["h1", "h1"]))
    serverkit.apply(client, *serverkit.shop(["b"], ["h1"], tenant="other"))
    answer = client.get(f"{A}/explain", params=query)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


def test_a_trace_is_asked_of_the_endpoints_host_and_gathers_what_all_hosts_report(server, client):
    async def body(agents):
        joined = await shop(agents, client)
        wish = {"to": "b", "protocol": "udp", "port": 53, "count": 2}
        status, begun = await ask(client, "POST", f"{A}/traces", json=wish)
        assert (status, begun["state"], begun["host"]) == (201, "running", "h1")
        request = await requested(joined["h1"])
        assert (request.protocol, request.destination, request.destination_port) == (
            17, "10.0.0.3", 53
        )  # fmt: skip
        assert (request.trace, request.count) == (begun["number"], 2)
        h2 = joined["h2"].hello.address
        sent = report(request.trace + 1, "endpoint", "SENT_DIRECT", next=h2)
        await joined["h1"].send(stream.TraceReports([sent]))
        done = stream.TraceDone(request.trace, ["", "echo"], "", "10.0.0.2", 50123)
        await joined["h1"].send(done)
        arrived = report(request.trace + 1, "uplink_tcx", "DELIVERED")
        foreign = report(request.trace + 2, "uplink_tcx", "DELIVERED")
        await joined["h2"].send(stream.TraceReports([arrived, foreign]))
        path = f"{A}/traces/{begun['number']}"
        await serverkit.eventually(lambda: len(client.get(path).json()["steps"]) == 2)
        told = client.get(path).json()
        assert (told["state"], told["answers"]) == ("done", ["", "echo"])
        assert told["flow"]["source_port"] == 50123
        steps = [(s["packet"], s["step"]["host"], s["step"]["next"]) for s in told["steps"]]
        assert steps == [(2, "h1", "host h2"), (2, "h2", "")]

    serverkit.run(body, server)


def report(trace, program, reason, next=""):
    return stream.TraceReport(trace, program, reason, 1, 1, "10.0.0.2", "10.0.0.3", next)


def test_live_packets_are_one_number_and_need_say_nothing_else(server, client):
    async def body(agents):
        joined = await shop(agents, client)
        status, begun = await ask(client, "POST", f"{A}/traces", json={"seconds": 5.0})
        request = await requested(joined["h1"])
        assert (status, request.protocol, request.destination, request.count) == (201, 0, "", 0)
        await joined["h1"].send(
            stream.TraceReports([report(request.trace, "endpoint", "NO_ENDPOINT")] * 2)
        )
        path = f"{A}/traces/{begun['number']}"
        await serverkit.eventually(lambda: len(client.get(path).json()["steps"]) == 2)
        assert {step["packet"] for step in client.get(path).json()["steps"]} == {0}
        flood = [report(request.trace, "endpoint", "NO_ENDPOINT")] * 1500
        await joined["h1"].send(stream.TraceReports(flood, lost=7))
        await serverkit.eventually(lambda: client.get(path).json()["omitted"] == 509)
        assert len(client.get(path).json()["steps"]) == 1000

    serverkit.run(body, server)


def test_a_trace_fails_with_its_agent(server, client):
    async def body(agents):
        joined = await shop(agents, client)
        _, begun = await ask(client, "POST", f"{A}/traces", json={"to": "b", "count": 1})
        await requested(joined["h1"])
        await joined["h1"].disconnect()
        path = f"{A}/traces/{begun['number']}"
        await serverkit.eventually(lambda: client.get(path).json()["state"] == "failed")
        assert "the agent of host h1 has gone" in client.get(path).json()["error"]
        status, refused = await ask(client, "POST", f"{A}/traces", json={"to": "b", "count": 1})
        assert status == 409
        assert "isn't connected" in refused["error"]["message"]

    serverkit.run(body, server)


def test_an_agent_that_knows_no_reports_is_never_asked(server, client):
    async def body(agents):
        joined = await shop(agents, client, reports=False)
        status, refused = await ask(client, "POST", f"{A}/traces", json={"to": "b", "count": 1})
        assert status == 409
        assert "too old to trace" in refused["error"]["message"]
        assert joined["h1"].traces == []

    serverkit.run(body, server)


def test_a_trace_is_its_endpoints_and_nobody_elses(server, client):
    async def body(agents):
        await shop(agents, client)
        _, begun = await ask(client, "POST", f"{A}/traces", json={"to": "b", "count": 1})
        number = begun["number"]
        assert client.get(f"{A}/traces/{number}").status_code == 200
        for path in (f"/v1/tenants/acme/endpoints/b/traces/{number}", f"{A}/traces/{number + 1}"):
            assert client.get(path).status_code == 404
        assert client.get(f"{A}/traces/x").status_code == 404

    serverkit.run(body, server)


@pytest.mark.parametrize(
    ("wish", "status", "message"),
    [
        ({"to": "b"}, 422, "give a count, or up to 300 seconds"),
        ({"to": "b", "count": 101}, 422, "101 packets are too many"),
        ({"to": "b", "count": -1}, 422, "-1 packets are too many or too few"),
        ({"seconds": 301.0}, 422, "301 seconds can't be traced"),
        ({"to": "b", "count": 1, "protocol": "tcp"}, 422, "tcp needs one"),
        ({"to": "none", "count": 1}, 404, "there is no such endpoint"),
        ({"to": "b", "count": 1, "colour": "red"}, 400, "colour"),
    ],
)
def test_traces_that_make_no_sense_are_refused(server, client, wish, status, message):
    async def body(agents):
        await shop(agents, client)
        found, refused = await ask(client, "POST", f"{A}/traces", json=wish)
        assert found == status
        assert message in refused["error"]["message"]

    serverkit.run(body, server)


def test_so_many_traces_are_kept_and_running_ones_are_not_given_up(server, client):
    server.stop()
    server.code = server.code.replace("main.run(", "traces.TRACES_MAX = 2; main.run(")
    server.code = server.code.replace("import controller,", "import controller, traces,")
    server.start()

    async def body(agents):
        joined = await shop(agents, client)
        wish = {"to": "b", "count": 1}
        numbers = [(await ask(client, "POST", f"{A}/traces", json=wish))[1]["number"] for _ in "12"]
        status, refused = await ask(client, "POST", f"{A}/traces", json=wish)
        assert (status, refused["error"]["code"]) == (409, "exhausted")
        await joined["h1"].send(stream.TraceDone(numbers[0], [""]))
        path = f"{A}/traces/{numbers[0]}"
        await serverkit.eventually(lambda: client.get(path).json()["state"] == "done")
        status, _ = await ask(client, "POST", f"{A}/traces", json=wish)
        assert status == 201
        assert client.get(path).status_code == 404
        assert client.get(f"{A}/traces/{numbers[1]}").status_code == 200

    serverkit.run(body, server)
