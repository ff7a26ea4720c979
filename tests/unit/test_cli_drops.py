"""`mizar drops` against a server whose agents tell of lost packets."""

import asyncio
import json
import signal

import mizarcli
import pytest
import serverkit

from mizar.plan import stream

ROWS = [
    stream.Drop("SPOOFED_MAC", 3, 300, "acme", "a", 1, 2.5, "10.0.0.2", "10.0.0.9"),
    stream.Drop("UPLINK_TX_ERRORS", 7, 0),
]


@pytest.fixture
def server(tmp_path):
    server = mizarcli.Server(tmp_path).start()
    yield server
    server.stop()


def telling(server, work):
    """Runs ``work(h1)`` in a thread's place while agent h1 is connected and has told of `ROWS`."""

    async def whole():
        async with serverkit.Agents(server) as agents:
            h1 = await agents.join("h1")
            await h1.send(stream.Drops(ROWS, whole=True))
            await serverkit.eventually(lambda: "SPOOFED_MAC" in server.done("drops"))
            return await work(h1)

    return asyncio.run(whole())


def test_the_table_says_where_whose_why_and_what_it_means(server):
    async def work(_):
        return server.done("drops")

    header, first, second = telling(server, work).splitlines()
    assert header.split() == [
        "HOST", "WHOSE", "REASON", "PACKETS", "RATE", "LAST", "FROM", "TO", "MEANING"
    ]  # fmt: skip
    assert first.split()[:8] == [
        "h1", "endpoint/acme/a", "SPOOFED_MAC", "3", "2.5/s", "-", "10.0.0.2", "10.0.0.9"
    ]  # fmt: skip
    assert first.endswith("source MAC is not the endpoint's")
    assert second.split()[:3] == ["h1", "-", "UPLINK_TX_ERRORS"]


def test_json_is_the_rows(server):
    async def work(_):
        return server.done("drops", "--reason", "spoofed-mac", "-o", "json")

    [row] = json.loads(telling(server, work))
    assert (row["host"], row["endpoint"], row["rate"]) == ("h1", "a", 2.5)


def test_a_watch_prints_what_is_there_and_then_each_change(server):
    async def work(h1):
        watching = server.popen("drops", "--watch", "-o", "json", "--host", "h1")
        lines = [await asyncio.to_thread(watching.stdout.readline) for _ in ROWS]
        await h1.send(stream.Drops([stream.Drop("NOT_HERE", 1, 100, vni=9)]))
        lines.append(await asyncio.to_thread(watching.stdout.readline))
        watching.send_signal(signal.SIGINT)
        await asyncio.to_thread(watching.communicate, timeout=serverkit.WAIT_S)
        assert watching.returncode == 130
        return [json.loads(line)["reason"] for line in lines]

    assert telling(server, work) == ["SPOOFED_MAC", "UPLINK_TX_ERRORS", "NOT_HERE"]


def test_nothing_lost_is_said_so(server):
    result = server.mizar("drops")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Nothing was lost." in result.stderr


def test_a_host_whose_agent_is_gone_is_not_called_free_of_losses(server):
    async def whole():
        async with serverkit.Agents(server) as agents:
            gone, _ = await agents.join("h1", "h2")
            await gone.disconnect()
            await serverkit.eventually(
                lambda: "not known of h1, h2: no" in server.mizar("drops").stderr
            )
        with serverkit.Server.client(server) as client:
            await asyncio.to_thread(serverkit.apply, client, *serverkit.shop(["a"], ["h1"]))
        asked = (["--host", "h1"], ["--endpoint", "acme/a"], ["--endpoint", "acme/none"])
        return [server.mizar("drops", *words).stderr for words in asked]

    said = "not known of h1: no report from the agent\n"
    refused = "error: Endpoint acme/none: it doesn't exist; see mizar get endpoints -n acme\n"
    assert asyncio.run(whole()) == [said, said, refused]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--reason", "NO_SUCH"], 2, "reason 'NO_SUCH': no such one; see mizar reasons"),
        (["--endpoint", "a"], 2, "which tenant? write TENANT/a, or give -n TENANT"),
        (["-n", "none"], 1, "Tenant none: it doesn't exist; see mizar get tenants"),
        (["--host", "none"], 1, "Host none: it doesn't exist; see mizar get hosts"),
    ],
)
def test_what_makes_no_sense_is_refused(server, words, code, message):
    result = server.mizar("drops", *words)
    assert result.exit_code == code
    assert message in result.stderr
