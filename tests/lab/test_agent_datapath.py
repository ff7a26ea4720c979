"""The data path of a host in the kernel: pins adopted, damaged, upgraded; both attachments."""

import errno
import fcntl
import os
import socket
import struct
import subprocess
import time
from pathlib import Path

import agents
import pytest

from mizar.agent import mirror, plumbing, sync
from mizar.bpf import errors, links, maps
from mizar.datapath import attachments, counters, host, namespaces, netlink, pins, tables
from mizar.plan import entries

MTU = 1500
SIOCGIFFLAGS, IFF_RUNNING = 0x8913, 0x40  # netdevice(7)
LINK_RELEASE_S = 0.5  # the kernel detaches an unpinned link a little later


class Machine:
    """A host in its own namespace, with an uplink that leads nowhere, and no agent process."""

    def __init__(self, name, root):
        self.name, self.root = name, root
        agents.command("ip", "link", "add", "wire0", "type", "veth", "peer", "name", "far0")
        for end in ("wire0", "far0"):
            agents.command("ip", "link", "set", end, "up")
        with netlink.Route() as route:
            self.uplink = route.link("wire0").number
        self.path = None

    def start(self, mode="tcx", tcx=None, mtu=MTU):
        """What an agent's start does; ``tcx`` None: as the kernel is."""
        if tcx and not links.tcx_supported():
            pytest.skip("this kernel has no tcx")
        self.close()
        self.path = host.prepare(self.root, links.tcx_supported() if tcx is None else tcx)
        self.path.configure("192.0.2.1", self.uplink, mtu)
        if not self.path.pending:
            self.path.settle()
        self.path.attach_uplink(self.uplink, mode)
        self.plumbing = plumbing.Plumbing(
            self.path.pins, self.path.attachments, self.name, mtu - tables.TUNNEL_OVERHEAD
        )
        self.mirror = mirror.Mirror(self.path.maps, self.path.make_room)
        self.sync = sync.Sync(self.mirror, self.plumbing)

    def close(self):
        if self.path:
            self.path.close()
            self.plumbing.close()
            self.path = None

    def snapshot(self, *more):
        """Two endpoints; switches new programs in where they waited for it."""
        self.sync.replace([*agents.state_of("alpha", 10, 11), *more])
        assert not self.sync.failures
        if self.path.pending:
            self.path.settle()
        self.path.complete()

    def config(self):
        return self.path.maps["host_config"].lookup(0)

    def program_ids(self):
        """What runs: uplink's programs by their links, endpoints' by their filters."""
        found = {}
        for pin in self.path.pins.links.iterdir():
            if pin.is_symlink():
                number = int(os.readlink(pin).partition(":")[2])
                found[pin.name] = links.Filter(number, links.INGRESS).program_id
            else:
                with links.open(pin) as link:
                    found[pin.name] = link.program_id
        return found

    def ping(self, count=3):
        words = ("ping", "-q", "-n", "-W", "1", "-i", "0.01", "-c", str(count), "10.0.0.11")
        output = agents.command(*words, inside=f"{self.name}-blue.e10", check=False)
        return int(output.partition(" packets transmitted, ")[2].split()[0])

    def memory(self):
        """Bytes of kernel memory that the maps are charged for."""
        return sum(map(memory, self.path.maps.values()))

    def flow(self, count):
        words = ["ping", "-q", "-n", "-W", "1", "-i", "0.01", "-c", str(count), "10.0.0.11"]
        net = f"--net=/run/netns/{self.name}-blue.e10"
        return subprocess.Popen(["nsenter", net, *words], stdout=subprocess.PIPE, text=True)


def memory(table):
    text = Path(f"/proc/self/fdinfo/{table.fd}").read_text()
    return int(text.partition("memlock:")[2].split()[0])


@pytest.fixture
def machine():
    name = agents.unique("m")
    with agents.pin_path() as root, agents.namespace(name):
        machine = Machine(name, root)
        yield machine
        machine.close()


@pytest.mark.parametrize("tcx", [True, False])
def test_delivery_first_then_the_flag_then_xdp(machine, tcx):
    machine.start("xdp", tcx)
    assert machine.config().delivery_attached == 1
    assert machine.config().endpoint_mtu == 1442
    assert set(machine.program_ids()) == {"uplink_tcx", "uplink_xdp"}
    assert (machine.path.pins.links / "uplink_tcx").is_symlink() != tcx


def test_back_to_mode_tcx_detaches_xdp(machine):
    machine.start("xdp")
    machine.start("tcx")
    assert set(machine.program_ids()) == {"uplink_tcx"}
    assert "xdp" not in agents.command("ip", "link", "show", "wire0")


def test_a_lost_delivery_is_noticed_and_replaced(machine):
    machine.start("tcx", tcx=True)
    with links.open(machine.path.pins.links / "uplink_tcx") as link:
        link.detach()
    assert not machine.path.attachments.delivery_current(machine.uplink)
    machine.start("tcx", tcx=True)
    assert machine.path.attachments.delivery_current(machine.uplink)


@pytest.mark.parametrize("tcx", [True, False])
def test_a_second_start_changes_nothing(machine, tcx):
    machine.start("xdp", tcx)
    machine.snapshot()
    running = machine.program_ids()
    machine.start("xdp", tcx)
    machine.snapshot()
    assert machine.program_ids() == running
    assert machine.mirror.writes == 0
    assert machine.ping() == 3


@pytest.mark.parametrize(
    "damage",
    [
        "no programs",
        "no endpoint program",
        "a map for a program",
        "another build's programs",
        "no map ports",
        "no layout of local",
        "another layout of routes",
        "a program for a map",
        "no counters",
        "links lost",
        "a map for a link",
        "no maps at all",
    ],
)
def test_damaged_pins_heal_under_traffic(machine, damage):
    machine.start("xdp")
    machine.snapshot()
    pinned = machine.path.pins
    [build] = pinned.programs.iterdir()
    endpoint = build / "endpoint"
    match damage:
        case "no programs":
            pins.remove(pinned.programs)
        case "no endpoint program":
            endpoint.unlink()
        case "a map for a program":
            endpoint.unlink()
            machine.path.maps["ports"].pin(endpoint)
        case "another build's programs":
            build.rename(pinned.programs / "0123456789abcdef")
        case "no map ports":
            (pinned.maps / "ports").unlink()
        case "no layout of local":
            (pinned.layouts / "local").unlink()
        case "another layout of routes":
            pinned.record_layout("routes", "something-else")
        case "a program for a map":
            (pinned.maps / "local").unlink()
            endpoint.rename(pinned.maps / "local")
        case "no counters":
            (pinned.maps / "counters").unlink()
        case "links lost":
            pins.remove(pinned.links)
            time.sleep(LINK_RELEASE_S)
        case "a map for a link":
            (pinned.links / "uplink_tcx").unlink()
            machine.path.maps["ports"].pin(pinned.links / "uplink_tcx")
            time.sleep(LINK_RELEASE_S)
        case "no maps at all":
            pins.remove(pinned.maps)
    with machine.flow(40) as flow:
        machine.start("xdp")
        machine.snapshot()
        output, _ = flow.communicate(timeout=20)
    assert "40 received" in output
    machine.start("xdp")
    assert not machine.path.pending, "healed for good"
    assert machine.config().delivery_attached == 1
    machine.snapshot()
    assert machine.mirror.writes == 0
    assert len(list(pinned.programs.iterdir())) == 1
    assert counters.read(machine.root)["DELIVERED_SAME_HOST"].packets >= 0
    assert machine.ping() == 3


def test_while_new_maps_wait_for_the_snapshot_the_old_programs_go_on(machine):
    machine.start("tcx")
    machine.snapshot()
    running = machine.program_ids()
    machine.path.pins.record_layout("local", "something-else")
    machine.start("tcx")
    assert machine.path.pending
    assert machine.ping() == 3
    assert machine.program_ids() == running
    machine.snapshot()
    assert machine.ping() == 3
    replaced = machine.program_ids()
    assert replaced.keys() == running.keys()
    assert not set(replaced.values()) & set(running.values())


def test_a_new_build_with_another_cache_is_switched_in_at_once(machine):
    machine.start("tcx")
    machine.snapshot()
    running = machine.program_ids()
    machine.path.pins.record_layout("locations", "something-else")
    machine.start("tcx")
    assert not machine.path.pending
    assert not set(machine.program_ids().values()) & set(running.values())
    assert machine.ping() == 3


SWITCH = [
    entries.SwitchNetworkEntry(agents.VNI, "10.0.0.0/24", 1),
    *(agents.places(number, "alpha") for number in (10, 11, 12)),
]


def test_without_transit_tables_a_host_needs_less_than_20_mib_for_maps(machine):
    machine.start("xdp")
    machine.snapshot()
    assert machine.memory() < 20 << 20
    machine.snapshot(*SWITCH)
    assert machine.memory() > 20 << 20, "the whole table has buckets for a million endpoints"


@pytest.mark.parametrize("mode", ["tcx", "xdp"])
def test_a_host_that_becomes_a_transit_switch_gets_the_table_under_traffic(machine, mode):
    machine.start(mode)
    machine.snapshot()
    small = machine.path.maps["switch_endpoints"]
    assert small.max_entries == 1
    small.update((1, bytes(16)), (bytes(16), 7, 7))
    running = machine.program_ids()
    with machine.flow(60) as flow:
        time.sleep(0.2)
        machine.snapshot(*SWITCH)
        output, _ = flow.communicate(timeout=20)
    assert "60 received" in output
    table = machine.path.maps["switch_endpoints"]
    assert table.max_entries == machine.path.types.enum("limit")["LIMIT_SWITCH_ENDPOINTS"]
    assert len(list(table.keys())) == 4, "the row that was there, and three"
    switched = machine.program_ids()
    assert switched.keys() == running.keys()
    assert not set(switched.values()) & set(running.values())
    machine.start(mode)
    machine.snapshot(*SWITCH)
    assert machine.mirror.writes == 1, "the row that is nobody's goes"
    assert machine.program_ids() == switched
    assert not machine.path.pending


def test_a_new_layout_of_a_transit_switch_is_filled_before_it_is_switched_in(machine):
    machine.start("tcx")
    machine.snapshot(*SWITCH)
    running = machine.program_ids()
    machine.path.pins.record_layout("switch_endpoints", "something-else")
    machine.start("tcx")
    assert machine.path.pending
    machine.sync.replace([*agents.state_of("alpha", 10, 11), *SWITCH])
    assert machine.program_ids() == running
    machine.snapshot(*SWITCH)
    assert not set(machine.program_ids().values()) & set(running.values())
    assert len(list(machine.path.maps["switch_endpoints"].keys())) == 3
    machine.start("tcx")
    assert not machine.path.pending


def test_a_table_that_the_kernel_has_no_memory_for_fails_its_rows_and_nothing_else(machine):
    machine.start("tcx")
    refusal = errors.BpfError(errno.ENOMEM, "map switch_endpoints")

    def no_room(name):
        if name == "switch_endpoints":
            raise refusal

    machine.sync = sync.Sync(mirror.Mirror(machine.path.maps, no_room), machine.plumbing)
    machine.sync.replace([*agents.state_of("alpha", 10, 11), *SWITCH])
    assert {failure.message for failure in machine.sync.failures} == {str(refusal)}
    assert len(machine.sync.failures) == 3
    assert machine.ping() == 3


def test_tables_are_complete_from_a_whole_snapshot_until_they_are_lost(machine):
    machine.start("tcx")
    assert machine.config().tables_complete == 0
    machine.snapshot()
    assert machine.config().tables_complete == 1
    machine.start("tcx")
    assert machine.config().tables_complete == 1
    machine.path.attachments.detach_all()
    pins.remove(machine.path.pins.links)
    (machine.path.pins.maps / "routes").unlink()
    machine.start("tcx")
    assert machine.config().tables_complete == 0


def test_a_map_that_a_program_is_pinned_for_is_told_apart(machine):
    machine.start("tcx")
    spec = machine.path.maps["ports"].spec
    [build] = machine.path.pins.programs.iterdir()
    with pytest.raises(errors.BpfError):
        maps.open(build / "endpoint", spec)


def test_an_uplink_that_was_replaced_is_attached_anew(machine):
    machine.start("tcx")
    agents.command("ip", "link", "del", "wire0")
    again = Machine(machine.name, machine.root)
    again.start("tcx")
    assert again.config().uplink_ifindex == again.uplink
    assert again.path.attachments.delivery_current(again.uplink)
    again.close()


@pytest.mark.parametrize("tcx", [True, False])
def test_another_uplink_takes_over_from_one_that_is_still_there(machine, tcx):
    machine.start("xdp", tcx)
    old = machine.uplink
    agents.command("ip", "link", "add", "wire1", "type", "veth", "peer", "name", "far1")
    with netlink.Route() as route:
        machine.uplink = route.link("wire1").number
    machine.start("xdp", tcx)
    assert not machine.path.attachments.delivery_current(old)
    assert links.Filter(old, links.INGRESS).program_id == 0
    assert machine.path.attachments.delivery_current(machine.uplink)
    assert "xdp" in agents.command("ip", "link", "show", "wire1")
    assert "xdp" not in agents.command("ip", "link", "show", "wire0")


@pytest.mark.parametrize("tcx", [True, False])
def test_filters_whose_marks_are_lost_are_marked_again(machine, tcx):
    machine.start("tcx", tcx)
    machine.snapshot()
    marked = machine.program_ids()
    for pin in machine.path.pins.links.iterdir():
        if pin.is_symlink():
            pin.unlink()
    machine.start("tcx", tcx)
    machine.snapshot()
    assert machine.program_ids() == marked


def test_endpoints_get_what_they_need(machine):
    machine.start("tcx")
    machine.snapshot()
    name = plumbing.interface_name("u10")
    inside = f"{machine.name}-blue.e10"
    outer = agents.command("ip", "-d", "link", "show", name)
    assert f"mtu {1442 + plumbing.HOST_END_ROOM}" in outer
    assert "gso_max_size 65477" in outer
    assert "alias blue/e10" in outer
    assert "inet6" not in agents.command("ip", "addr", "show", name)
    inner = agents.command("ip", "-d", "addr", "show", "eth0", inside=inside)
    assert "02:00:00:00:00:0a" in inner
    assert "inet 10.0.0.10/24" in inner
    assert "mtu 1442" in inner
    assert "gso_max_size 65477" in inner
    assert "default via 10.0.0.1" in agents.command("ip", "route", inside=inside)
    features = agents.command("ethtool", "-k", "eth0", inside=inside)
    assert "tx-udp_tnl-segmentation: off" in features
    assert "tx-udp_tnl-csum-segmentation: off" in features
    assert "LOOPBACK,UP" in agents.command("ip", "link", "show", "lo", inside=inside)


@pytest.mark.parametrize(
    ("workload", "uplink", "after"),
    [(1300, 1500, 1300), (9000, 1500, 1442), (1442, 1400, 1342), (1300, 9000, 8942)],
)
def test_a_start_changes_the_mtu_in_place(machine, workload, uplink, after):
    """A workload may lower its own; a new one of the uplink goes to both ends."""
    machine.start("tcx")
    machine.snapshot()
    inside, name = f"{machine.name}-blue.e10", plumbing.interface_name("u10")
    agents.command("ip", "link", "set", "eth0", "mtu", str(workload), inside=inside)
    agents.command("ip", "route", "add", "172.16.0.0/12", "via", "10.0.0.1", inside=inside)
    machine.start("tcx", mtu=uplink)
    machine.snapshot()
    assert "172.16.0.0/12" in agents.command("ip", "route", inside=inside), "the same interface"
    assert f"mtu {after} " in agents.command("ip", "link", "show", "eth0", inside=inside)
    room = uplink - 58 + plumbing.HOST_END_ROOM
    assert f"mtu {room} " in agents.command("ip", "link", "show", name)
    assert machine.ping() == 3


def test_a_plumbed_endpoint_sends_at_once_and_knows_its_gateway(machine):
    machine.start()
    for number in range(10, 40):
        entry = agents.endpoint(number)
        machine.plumbing.ensure(entry)
        host_side = plumbing.interface_name(entry.uid)
        workload = f"{machine.name}-blue.e{number}"
        assert is_running(host_side), number
        with namespaces.entered(workload):
            assert is_running("eth0"), number
    neighbours = agents.command("ip", "neigh", "show", "nud", "permanent", inside=workload)
    assert neighbours.split()[:5] == ["10.0.0.1", "dev", "eth0", "lladdr", "02:4d:5a:00:00:01"]


def test_an_endpoint_of_both_families_is_there_at_once_and_configured_by_hand(machine):
    machine.start()
    entry = agents.dual(10)
    machine.plumbing.ensure(entry)
    inside = f"{machine.name}-blue.e10"
    shown = agents.command("ip", "-6", "addr", "show", "eth0", "scope", "global", inside=inside)
    assert "inet6 fd00::10/64" in shown
    assert "tentative" not in shown
    assert "nodad" in shown
    routes = agents.command("ip", "-6", "route", inside=inside)
    assert "default via fd00::1 dev eth0" in routes
    assert "fd00::/64 dev eth0" in routes
    neighbours = agents.command("ip", "-6", "neigh", "show", "nud", "permanent", inside=inside)
    assert neighbours.split()[:5] == ["fd00::1", "dev", "eth0", "lladdr", "02:4d:5a:00:00:01"]
    accept = agents.command("cat", "/proc/sys/net/ipv6/conf/eth0/accept_ra", inside=inside)
    assert accept.strip() == "0"
    host_side = plumbing.interface_name(entry.uid)
    assert "inet6" not in agents.command("ip", "addr", "show", host_side)


def test_a_namespace_without_ipv6_gets_it_for_an_endpoint_that_has_it(machine):
    machine.start()
    name = f"{machine.name}-six"
    namespaces.create(name)
    try:
        off = "net.ipv6.conf.default.disable_ipv6=1"
        agents.command("sysctl", "-qw", off, inside=name)
        machine.plumbing.ensure(agents.dual(10, netns=name))
        assert "fd00::10/64" in global_addresses(name)
    finally:
        namespaces.remove(name)


def test_ipv6_over_an_uplink_that_is_too_small_for_it_is_refused_in_words(machine):
    machine.start(mtu=1300)
    machine.sync.apply([agents.dual(10), agents.endpoint(11)], [])
    [failure] = machine.sync.failures
    assert "e10: interface eth0 can't have IPv6: its MTU is below 1280" in failure.message


def test_what_a_workload_added_itself_stays_and_what_an_agent_set_is_kept_right(machine):
    machine.start()
    machine.sync.replace([agents.dual(10)])
    inside = f"{machine.name}-blue.e10"
    for address in ("10.0.0.200/24", "10.9.9.9/32", "fd00::200/64"):
        agents.command("ip", "addr", "add", address, "dev", "eth0", inside=inside)
    agents.command("ip", "addr", "del", "fd00::10/64", "dev", "eth0", inside=inside)
    machine.start()
    machine.sync.replace([agents.dual(10)])
    assert not machine.sync.failures
    held = {"10.0.0.10/24", "fd00::10/64", "10.0.0.200/24", "10.9.9.9/32", "fd00::200/64"}
    assert global_addresses(inside) == held
    machine.start()
    machine.sync.replace([agents.dual(10, addresses=["10.0.0.10", "fd00::77"])])
    assert global_addresses(inside) == held - {"fd00::10/64"} | {"fd00::77/64"}


def global_addresses(inside):
    shown = agents.command("ip", "-o", "addr", "show", "eth0", "scope", "global", inside=inside)
    return {line.split()[3] for line in shown.splitlines()}


def is_running(interface):
    """The flag as it is: a question by netlink or a slow command would bring it about."""
    request = struct.pack("16sh22x", interface.encode(), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        answer = fcntl.ioctl(asker, SIOCGIFFLAGS, request)
    return bool(struct.unpack_from("H", answer, 16)[0] & IFF_RUNNING)


def test_an_endpoint_may_change_its_address_and_its_namespace(machine):
    machine.start("tcx")
    machine.snapshot()
    moved = agents.endpoint(10, addresses=["10.0.0.77"], netns=f"{machine.name}-other")
    machine.sync.apply([moved], [])
    assert not machine.sync.failures
    inner = agents.command("ip", "addr", "show", "eth0", inside=f"{machine.name}-other")
    assert "inet 10.0.0.77/24" in inner
    assert not namespaces.exists(f"{machine.name}-blue.e10")
    moved = agents.endpoint(10, addresses=["10.0.0.78"], netns=f"{machine.name}-other")
    machine.sync.apply([moved], [])
    inner = agents.command("ip", "addr", "show", "eth0", inside=f"{machine.name}-other")
    assert "10.0.0.78/24" in inner
    assert "10.0.0.77" not in inner


def test_a_file_that_is_no_namespace_is_taken_over(machine):
    machine.start("tcx")
    (namespaces.ROOT / f"{machine.name}-blue.e10").touch()
    machine.snapshot()
    assert machine.ping() == 3


def test_an_impossible_namespace_name_is_a_failure(machine):
    machine.start("tcx")
    machine.sync.apply([agents.endpoint(10, netns="a/b")], [])
    assert "choose another netns" in machine.sync.failures[0].message


@pytest.mark.parametrize("name", ["", "-green.web1", "-blue.e11"])
def test_an_endpoint_gets_into_neither_the_host_nor_its_neighbours(machine, name):
    machine.start("tcx")
    machine.snapshot()
    routes = agents.command("ip", "route")
    machine.sync.apply([agents.endpoint(12, netns=machine.name + name, interface="eth1")], [])
    assert "choose another netns" in machine.sync.failures[0].message
    assert agents.command("ip", "route") == routes
    assert "eth1" not in agents.command("ip", "link", inside=f"{machine.name}-blue.e11")


def test_attachments_of_interfaces_that_are_gone_are_forgotten(machine):
    machine.start("tcx")
    machine.snapshot()
    agents.command("ip", "link", "del", plumbing.interface_name("u10"))
    machine.path.attachments.refresh()
    assert not (machine.path.pins.links / plumbing.interface_name("u10")).is_symlink()
    machine.path.attachments.detach_all()
    assert not machine.path.attachments.any()


def test_names_of_namespaces_survive_dots(machine):
    machine.start("tcx")
    machine.path.pins.mark_namespace("a.b")
    assert machine.path.pins.own_namespaces() == ["a.b"]
    machine.path.pins.forget_namespace("a.b")
    assert not machine.path.pins.is_own_namespace("a.b")


def test_both_programs_are_there(machine):
    machine.start("tcx")
    [build] = machine.path.pins.programs.iterdir()
    assert {pin.name for pin in build.iterdir()} == {
        attachments.ENDPOINT, attachments.UPLINK_TCX, attachments.UPLINK_XDP,
    }  # fmt: skip
