"""`mizar explain` and `mizar trace` against a server and agents that answer by script."""

import asyncio
import json

import mizarcli
import pytest
import serverkit

from mizar.plan import stream


@pytest.fixture
def server(tmp_path):
    server = mizarcli.Server(tmp_path).start()
    yield server
    server.stop()


def acting(server, work, *answer):
    """Runs ``work()`` beside hosts h1 and h2 with endpoints a and b; h1 answers traces so."""

    async def whole():
        async with serverkit.Agents(server) as agents:
            h1, h2 = await agents.join("h1", "h2")
            with serverkit.Server.client(server) as client:
                documents = serverkit.shop(["a", "b"], ["h1", "h2"])
                await asyncio.to_thread(serverkit.apply, client, *documents)
                for name in ("a", "b"):
                    path = f"tenants/acme/endpoints/{name}"
                    await serverkit.eventually(
                        lambda path=path: serverkit.phase(client, path) == "Ready"
                    )
            answering = asyncio.create_task(answered(h1, h2, *answer)) if answer else None
            result = await asyncio.to_thread(work)
            if answering:
                await answering
            return result

    return asyncio.run(whole())


async def answered(h1, h2, last, heard="echo reply", error=""):
    """One packet leaves h1 directly and ends on h2 for a reason; "": h2's agent has gone."""
    request = await serverkit.eventually(lambda: h1.traces and h1.traces[0])
    ends = ("10.0.0.2", "10.0.0.3")
    sent = stream.TraceReport(
        request.trace, "endpoint", "SENT_DIRECT", 1, 1, *ends, h2.hello.address
    )
    arrived = stream.TraceReport(request.trace, "uplink_tcx", last, 1, 1, *ends)
    await (h2.send(stream.TraceReports([arrived])) if last else h2.disconnect())
    await h1.send(stream.TraceReports([sent]))
    await h1.send(stream.TraceDone(request.trace, [] if error else [heard], error, ends[0]))


def test_explain_tells_each_step_with_table_and_entry_and_the_end(server):
    result = acting(server, lambda: server.mizar("explain", "acme/a", "endpoint/acme/b"))
    assert result.exit_code == 0
    assert "acme/a: icmp, 10.0.0.2 to 10.0.0.3" in result.stdout
    assert "Next packets: delivered to acme/b on h2" in result.stdout
    assert "endpoint: SENT_DIRECT -> host h2" in result.stdout
    assert "locations vni 1 10.0.0.3: at host h2 10 ms ago" in result.stdout
    assert "local vni 1 10.0.0.3: here, endpoint acme/b" in result.stdout


def test_explain_of_a_lost_packet_is_told_once_and_is_a_failure(server):
    result = acting(server, lambda: server.mizar("explain", "a", "10.0.3.9", "-n", "acme"))
    assert result.exit_code == 1
    assert "Every packet: dropped on h" in result.stdout
    assert ": NO_ENDPOINT" in result.stdout


def test_a_trace_that_went_as_explained(server):
    result = acting(
        server, lambda: server.mizar("trace", "acme/a", "b", "--count", "1"), "DELIVERED"
    )
    assert result.exit_code == 0, result.output
    assert "Packet 1: delivered to acme/b on h2, as explained (next packet)" in result.stdout
    assert "answered by echo reply" in result.stdout
    assert "differs" not in result.stdout


def test_a_trace_that_went_another_way_says_where(server):
    result = acting(
        server, lambda: server.mizar("trace", "acme/a", "b", "--count", "1"), "NOT_HERE", ""
    )
    assert result.exit_code == 1
    assert "last seen on h2: NOT_HERE (this host holds neither" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines() if "differs" in line]
    assert ["h2", "uplink_tcx", "DELIVERED", "NOT_HERE", "-", "differs"] in rows


def test_a_trace_says_whose_agent_can_not_report(server):
    result = acting(server, lambda: server.mizar("trace", "acme/a", "b", "--count", "1"), "")
    assert result.exit_code == 1
    assert "last seen on h1: SENT_DIRECT" in result.stdout
    assert "note: host h2's agent is not connected" in result.stdout


def test_a_trace_that_could_not_be_sent_says_why(server):
    why = "a packet of 1500 bytes is larger than"
    result = acting(server, lambda: server.mizar("trace", "acme/a", "b"), "NOT_HERE", "", why)
    assert result.exit_code == 1
    assert f"error: endpoint/acme/a: {why}" in result.stderr


def test_live_steps_are_printed_as_they_come(server):
    words = ("trace", "acme/a", "--live", "--seconds", "1", "-o", "json")
    result = acting(server, lambda: server.mizar(*words), "DELIVERED")
    assert result.exit_code == 0, result.output
    reasons = [json.loads(line)["step"]["reason"] for line in result.stdout.splitlines()]
    assert sorted(reasons) == ["DELIVERED", "SENT_DIRECT"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["explain", "a", "b"], 2, "which tenant?"),
        (["explain", "acme/none", "b"], 1, "Endpoint acme/none: it doesn't exist; see mizar get"),
        (["explain", "acme/a", "b", "--proto", "gre"], 2, "'gre' is not one of"),
        (["explain", "acme/a", "none"], 1, "Endpoint acme/none: there is no such endpoint"),
        (["explain", "acme/a", "b", "--proto", "udp"], 1, "udp needs one; name the destination"),
        (["trace", "acme/a"], 2, "trace to where? name an endpoint or an address"),
        (["trace", "acme/a", "b", "--count", "0"], 2, "0 is not in the range"),
        (["trace", "acme/a", "none"], 1, "Endpoint acme/none: there is no such endpoint"),
    ],
)
def test_what_makes_no_sense_is_refused(server, words, code, message):
    with serverkit.Server.client(server) as client:
        host = serverkit.resource("Host", "h1", address="192.0.2.1")
        serverkit.apply(client, host, *serverkit.shop(["a", "b"], ["h1", "h1"]))
    result = server.mizar(*words)
    assert result.exit_code == code, result.output
    assert message in result.stderr
