"""Real agents on two hosts: traffic through them, restarts, upgrades of nothing, removal."""

import asyncio
import signal

import agents
import pytest

from mizar.agent import main, plumbing, uplink
from mizar.bpf import errors, links, maps, objects
from mizar.datapath import counters, host, namespaces, netlink
from mizar.plan import entries


def fleet_of(directory, scenario):
    async def run():
        async with agents.Fleet(directory) as fleet:
            await scenario(fleet)

    asyncio.run(run())


async def start_both(fleet, mode="auto"):
    await fleet.start("alpha", mode)
    await fleet.start("beta", mode)


@pytest.mark.parametrize("mode", ["tcx", "xdp"])
def test_endpoints_reach_each_other_in_both_modes(tmp_path, mode):
    async def scenario(fleet):
        await start_both(fleet, mode)
        assert await fleet.ping(10, 11) == 3
        assert await fleet.ping(10, 21) == 3
        assert await fleet.ping(20, 11) == 3
        assert await fleet.ping(10, 99, count=1) == 0
        seen = counters.read(fleet.pins("beta"))
        assert seen["SWITCHED"].packets > 0
        assert seen["NO_ENDPOINT"].packets > 0
        assert (seen["STRIPPED"].packets > 0) == (mode == "xdp")

    fleet_of(tmp_path, scenario)


@pytest.mark.parametrize("mode", ["tcx", "xdp"])
def test_both_families_and_secondary_addresses_reach_each_other(tmp_path, mode):
    async def scenario(fleet):
        for name, numbers in (("alpha", (10, 11)), ("beta", (20, 21))):
            known = [e for e in fleet.states[name] if not isinstance(e, entries.EndpointEntry)]
            route = entries.RouteEntry(agents.VNI, "fd00::/64", "switch", 1, ["192.0.2.2"])
            endpoints = [agents.dual(n, secondary=[f"10.0.0.1{n}", f"fd00::1{n}"]) for n in numbers]
            fleet.states[name] = [*known, route, *endpoints]
        fleet.states["beta"].append(entries.SwitchNetworkEntry(agents.VNI, "fd00::/64", 1))
        for network in ("10.0.0.", "fd00::"):
            held = (agents.places(n, "alpha" if n % 100 < 20 else "beta", network)
                    for n in (10, 11, 20, 21, 110, 111, 120, 121))  # fmt: skip
            fleet.states["beta"] += held
        await start_both(fleet, mode)
        for network in ("10.0.0.", "fd00::"):
            assert await fleet.ping(10, 11, network=network) == 3
            assert await fleet.ping(10, 21, network=network) == 3
            length = 32 if network == "10.0.0." else 128
            agents.command("ip", "addr", "add", f"{network}120/{length}", "dev", "eth0",
                           inside=fleet.workload(20))  # fmt: skip
            if length == 128:
                await asyncio.sleep(2)  # duplicate address detection, which finds nobody
            assert await fleet.ping(10, 120, network=network) == 3

    fleet_of(tmp_path, scenario)


def test_an_endpoint_moves_with_its_namespace_between_hosts_of_one_kernel(tmp_path):
    async def scenario(fleet):
        netns = f"{fleet.name}-kept"
        namespaces.create(netns)
        stay, gone = agents.endpoint(10, netns=netns), ("endpoints", "u10", "")
        come = agents.endpoint(10, netns=netns, generation=2)
        fleet.states["alpha"] = [*agents.state_of("alpha", 11), stay]
        try:
            await start_both(fleet)
            assert await fleet.ping(11, 10) == 3
            await fleet.send("beta", 2, upserts=[come, agents.places(10, "beta")])
            failed = await fleet.acknowledged("beta", 2, failures=1)
            assert "has an interface eth0 already" in failed.failures[0].message
            moved = entries.MovedEntry(agents.VNI, "10.0.0.10", "192.0.2.2", 10, 2)
            await fleet.send("alpha", 2, upserts=[moved], deletes=[gone])
            await fleet.acknowledged("alpha", 2)
            await fleet.acknowledged("beta", 2)
            assert await fleet.ping(20, 10) == 3
            assert rows(fleet, "alpha", "moved") == 1
            await fleet.send("alpha", 3, deletes=[entries.key_of(moved)])
            await fleet.acknowledged("alpha", 3)
            assert rows(fleet, "alpha", "moved") == 0
        finally:
            namespaces.remove(netns)

    fleet_of(tmp_path, scenario)


def rows(fleet, name, table):
    """How many rows a pinned map of a host has."""
    spec = objects.shipped("uplink").maps[table]
    with maps.open(fleet.pins(name) / "maps" / table, spec) as opened:
        return len(list(opened.keys()))


def test_a_killed_agent_takes_no_packet_with_it_and_its_successor_adopts(tmp_path):
    async def scenario(fleet):
        await start_both(fleet)
        traffic = asyncio.create_task(fleet.ping(10, 20, count=250, interval="0.01"))
        await asyncio.sleep(0.3)
        with agents.inside(fleet.host("beta")), netlink.Route() as route:
            before = {link for link in route.links() if plumbing.INTERFACE.fullmatch(link.name)}
        await fleet.stop("beta", signal.SIGKILL)
        await asyncio.sleep(0.2)
        await fleet.start("beta")
        with agents.inside(fleet.host("beta")), netlink.Route() as route:
            after = {link for link in route.links() if plumbing.INTERFACE.fullmatch(link.name)}
        assert after == before
        assert await traffic == 250

    fleet_of(tmp_path, scenario)


def test_a_stopped_agent_leaves_everything_and_a_lost_server_matters_to_nobody(tmp_path):
    async def scenario(fleet):
        await start_both(fleet)
        await fleet.stop_serving()
        assert await fleet.ping(10, 20) == 3
        assert await fleet.stop("alpha") == 0
        assert await fleet.stop("beta") == 0
        assert await fleet.ping(10, 21) == 3

    fleet_of(tmp_path, scenario)


def test_a_server_that_comes_back_is_told_what_is_in_force(tmp_path):
    async def scenario(fleet):
        await fleet.start("alpha")
        assert (await fleet.hellos.get()).revision == 0
        await fleet.stop_serving()
        await fleet.serve()
        again = await asyncio.wait_for(fleet.hellos.get(), 10)
        assert (again.epoch, again.revision) == ("life-1", 1)

    fleet_of(tmp_path, scenario)


def test_deleted_endpoints_go_with_their_namespaces(tmp_path):
    async def scenario(fleet):
        await fleet.start("alpha")
        assert namespaces.exists(fleet.workload(10))
        gone = entries.key_of(agents.endpoint(10))
        await fleet.send("alpha", 2, deletes=[gone])
        await fleet.acknowledged("alpha", 2)
        assert not namespaces.exists(fleet.workload(10))
        assert namespaces.exists(fleet.workload(11))

    fleet_of(tmp_path, scenario)


def test_what_was_deleted_while_the_agent_was_away_goes_when_it_returns(tmp_path):
    async def scenario(fleet):
        await fleet.start("alpha")
        await fleet.stop("alpha", signal.SIGKILL)
        fleet.states["alpha"] = agents.state_of("alpha", 11)
        await fleet.start("alpha")
        assert not namespaces.exists(fleet.workload(10))
        assert namespaces.exists(fleet.workload(11))

    fleet_of(tmp_path, scenario)


def test_an_endpoint_that_cannot_be_made_is_named_and_heals_by_itself(tmp_path):
    async def scenario(fleet):
        with agents.namespace(fleet.workload(12)):
            agents.command("ip", "-n", fleet.workload(12), "link", "add", "eth0", "type", "bridge")
            await fleet.start("alpha")
            await fleet.send("alpha", 2, upserts=[agents.endpoint(12), agents.endpoint(13)])
            ack = await fleet.acknowledged("alpha", 2, failures=1)
            assert ack.failures[0].key == entries.key_of(agents.endpoint(12))
            assert "has an interface eth0 already" in ack.failures[0].message
            assert await fleet.ping(13, 10) == 3
            agents.command("ip", "-n", fleet.workload(12), "link", "del", "eth0")
            await fleet.acknowledged("alpha", 2)
            assert await fleet.ping(12, 10) == 3
            await fleet.send("alpha", 3, deletes=[entries.key_of(agents.endpoint(12))])
            await fleet.acknowledged("alpha", 3)
            assert namespaces.exists(fleet.workload(12)), "not the agent's to remove"

    fleet_of(tmp_path, scenario)


def test_a_deleted_interface_is_made_again(tmp_path):
    async def scenario(fleet):
        await fleet.start("alpha")
        agents.command("ip", "-n", fleet.workload(10), "link", "del", "eth0")
        for _ in range(50):
            if await fleet.ping(10, 11, count=1) == 1:
                return
            await asyncio.sleep(0.1)
        raise AssertionError("eth0 did not come back")

    fleet_of(tmp_path, scenario)


def test_a_hint_makes_a_one_way_flow_direct(tmp_path):
    async def scenario(fleet):
        await start_both(fleet)
        silence = ["ip", "-n", fleet.workload(21), "route", "add", "blackhole", "10.0.0.10"]
        agents.command(*silence)
        assert await fleet.ping(10, 21, count=5) == 0
        seen = counters.read(fleet.pins("alpha"))
        assert seen["HINT_TAKEN"].packets > 0
        assert seen["DELIVERED"].packets == 0
        assert seen["SENT_DIRECT"].packets >= 4

    fleet_of(tmp_path, scenario)


@pytest.mark.parametrize(
    "change",
    [
        ["link set wire0 mtu 1400"],
        ["addr del 192.0.2.1/24 dev wire0", "addr add 192.0.2.77/24 dev wire0"],
    ],
    ids=["MTU", "address"],
)
def test_an_uplink_that_changes_is_registered_anew(tmp_path, change):
    async def scenario(fleet):
        await fleet.start("alpha")
        first = await fleet.hellos.get()
        for words in change:
            agents.command("ip", "-n", fleet.host("alpha"), *words.split())
        again = await asyncio.wait_for(fleet.hellos.get(), 10)
        assert (first.underlay_mtu, first.address) == (1500, "192.0.2.1")
        expected = (1400, "192.0.2.1") if len(change) == 1 else (1500, "192.0.2.77")
        assert (again.underlay_mtu, again.address) == expected
        await fleet.acknowledged("alpha", 1)
        assert await fleet.ping(10, 11) == 3

    fleet_of(tmp_path, scenario)


def test_an_uplink_that_vanished_is_waited_for_and_attached_again(tmp_path):
    async def scenario(fleet):
        await start_both(fleet, "xdp")
        agents.command("ip", "-n", fleet.host("alpha"), "link", "del", "wire0")
        await asyncio.sleep(0.5)
        assert await fleet.ping(10, 11) == 3
        fleet.join_wires()
        for _ in range(100):
            if await fleet.ping(10, 20, count=1) == 1:
                return
            await asyncio.sleep(0.1)
        raise AssertionError("no way through the new uplink")

    fleet_of(tmp_path, scenario)


def test_cleanup_removes_every_trace_and_may_be_repeated(tmp_path):
    async def scenario(fleet):
        await fleet.start("alpha", "xdp")
        with pytest.raises(main.AgentError, match="runs here already"):
            fleet.clean("alpha")
        await fleet.stop("alpha")
        fleet.clean("alpha")
        fleet.clean("alpha")
        assert not fleet.pins("alpha").exists()
        assert not namespaces.exists(fleet.workload(10))
        with agents.inside(fleet.host("alpha")), netlink.Route() as route:
            assert {link.name for link in route.links()} == {"lo", "wire0"}
        assert "xdp" not in agents.command("ip", "-n", fleet.host("alpha"), "link")

    fleet_of(tmp_path, scenario)


def test_auto_falls_back_where_native_xdp_turns_out_to_be_missing(monkeypatch):
    monkeypatch.setattr(uplink, "NATIVE_XDP", frozenset({"bridge"}))
    with agents.namespace(agents.unique()), agents.pin_path() as root:
        agents.command("ip", "link", "add", "wire0", "type", "bridge")
        agents.command("ip", "addr", "add", "192.0.2.1/24", "dev", "wire0")
        agents.command("ip", "link", "set", "wire0", "up")
        path = host.prepare(root, links.tcx_supported())
        assert main.start(path, uplink.inspect("wire0"), "auto") == "tcx"
        with pytest.raises(errors.BpfError, match="no native XDP"):
            main.start(path, uplink.inspect("wire0"), "xdp")
        path.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("http://h", "nope0"), "uplink nope0: no such interface; there are .*wire0"),
        (("http://h", "wire0", "Alpha!"), "host name 'Alpha!'"),
        (("ftp://h", "wire0"), "server 'ftp://h'"),
        (("http://h", "wire0", "alpha", "fast"), "mode 'fast': one of auto, xdp, tcx"),
        (("http://h", "lo"), "uplink lo is down; bring it up"),
    ],
)
def test_a_bad_start_says_what_to_do(arguments, message):
    name = agents.unique()
    with agents.namespace(name), agents.pin_path() as root:
        agents.command("ip", "-n", name, "link", "add", "wire0", "type", "veth")
        with pytest.raises(main.AgentError, match=message):
            main.run(*arguments, pin_path=str(root))


def test_an_uplink_without_an_address_is_refused():
    name = agents.unique()
    with agents.namespace(name), agents.pin_path() as root:
        agents.command("ip", "-n", name, "link", "set", "lo", "up")
        agents.command("ip", "-n", name, "addr", "flush", "dev", "lo")
        with pytest.raises(main.AgentError, match="uplink lo has no IPv4 address"):
            main.run("http://h", "lo", "alpha", pin_path=str(root))


def test_a_pin_path_elsewhere_is_refused(tmp_path):
    name = agents.unique()
    with agents.namespace(name):
        agents.command("ip", "-n", name, "link", "set", "lo", "up")
        with pytest.raises(main.AgentError, match="not on a BPF file system"):
            main.run("http://h", "lo", "alpha", pin_path=str(tmp_path / "pins"))
