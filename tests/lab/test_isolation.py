"""What a workload may not do, tried with raw frames: nothing gets anywhere, and each is counted."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import flows
import labkit
import pytest
from scapy import all as scapy
from scapy.contrib import geneve

from mizar.datapath import namespaces
from mizar.lab import fleet

COPIES = 10
ROUTER = "02:4d:5a:00:00:01"
SECONDARY = ("10.64.1.210", "fd64:0:0:1::210")
GATEWAYS = ("10.64.1.1", "fd64:0:0:1::1")
ERROR_BUDGET, ERRORS_PER_S = 20, 100
"""bpf/model.h's ERROR_BUDGET, and what ERROR_REFILL_NS gives."""


class Scene(NamedTuple):
    """blue/mallory and its neighbour are on one host, the victim on another."""

    lab: fleet.Lab
    host: str
    mac: str
    own: tuple[str, str]
    victim: tuple[str, str]
    underlay: str
    """The underlay address of the victim's host."""


@pytest.fixture(scope="module")
def scene(lab: fleet.Lab) -> Iterator[Scene]:
    with labkit.applied(lab, flows.VPC):
        here, there = flows.others(lab, "one")
        manifest = labkit.endpoint(
            "mallory", "one", here, secondaryAddresses=f'["{SECONDARY[0]}", "{SECONDARY[1]}"]'
        )
        manifest += labkit.endpoint("neighbour", "one", here)
        manifest += labkit.endpoint("victim", "one", there)
        with labkit.applied(lab, manifest):
            for name in ("neighbour", "victim"):
                settle(lab, f"blue/{name}")
            own, victim = (
                (flows.address(lab, name, 4), flows.address(lab, name, 6))
                for name in ("blue/mallory", "blue/victim")
            )
            underlay = next(host.address for host in lab.layout.hosts if host.name == there)
            yield Scene(lab, here, mac(lab, "blue/mallory"), own, victim, underlay)


def settle(lab: fleet.Lab, name: str) -> None:
    """Ends the endpoint's own solicitations, whose answers would be taken for something else."""
    silence = "net.ipv6.conf.eth0.router_solicitations=0"
    assert lab.run(name, ["sysctl", "-qw", silence]).returncode == 0
    earlier = -1
    while earlier != (now := received(lab, name)):
        earlier = now
        time.sleep(0.2)


def ether(scene: Scene, kind: int = 0, **fields: object) -> scapy.Packet:
    return scapy.Ether(
        **{"src": scene.mac, "dst": ROUTER, **({"type": kind} if kind else {}), **fields}
    )


def udp4(scene: Scene, **fields: object) -> scapy.Packet:
    ip = {"src": scene.own[0], "dst": scene.victim[0], **fields}
    return scapy.IP(**ip) / scapy.UDP(sport=7, dport=7) / b"hello"


def udp6(scene: Scene, **fields: object) -> scapy.Packet:
    ip = {"src": scene.own[1], "dst": scene.victim[1], **fields}
    return scapy.IPv6(**ip) / scapy.UDP(sport=7, dport=7) / b"hello"


def tunnelled(scene: Scene, inner: scapy.Packet, vni: int) -> scapy.Packet:
    """Geneve as hosts send it, made by a workload."""
    return scapy.UDP(sport=50000, dport=6081) / geneve.GENEVE(proto=0x6558, vni=vni) / inner


Make = Callable[[Scene], scapy.Packet]

REFUSED: dict[str, tuple[str, Make]] = {
    "another's MAC": (
        "SPOOFED_MAC",
        lambda s: ether(s, src="02:00:00:00:00:99") / udp4(s),
    ),
    "another's MAC, IPv6": (
        "SPOOFED_MAC",
        lambda s: ether(s, src="02:00:00:00:00:99") / udp6(s),
    ),
    "the victim's address": (
        "SPOOFED_ADDRESS",
        lambda s: ether(s) / udp4(s, src=s.victim[0], dst=s.victim[0]),
    ),
    "the victim's address, IPv6": (
        "SPOOFED_ADDRESS",
        lambda s: ether(s) / udp6(s, src=s.victim[1], dst=s.victim[1]),
    ),
    "an address of nobody": ("SPOOFED_ADDRESS", lambda s: ether(s) / udp4(s, src="10.64.1.240")),
    "ARP for another": (
        "SPOOFED_ADDRESS",
        lambda s: (
            ether(s, dst="ff:ff:ff:ff:ff:ff")
            / scapy.ARP(op=1, hwsrc=s.mac, psrc=s.victim[0], pdst=GATEWAYS[0])
        ),
    ),
    "ARP with another's MAC": (
        "SPOOFED_MAC",
        lambda s: (
            ether(s, dst="ff:ff:ff:ff:ff:ff")
            / scapy.ARP(op=1, hwsrc="02:00:00:00:00:99", psrc=s.own[0], pdst=GATEWAYS[0])
        ),
    ),
    "ARP answer nobody asked for": (
        "ARP_IGNORED",
        lambda s: (
            ether(s, dst="ff:ff:ff:ff:ff:ff")
            / scapy.ARP(op=2, hwsrc=s.mac, psrc=GATEWAYS[0], pdst=s.victim[0])
        ),
    ),
    "neighbour advertisement": (
        "ND_IGNORED",
        lambda s: (
            ether(s, dst="33:33:00:00:00:01")
            / scapy.IPv6(src=GATEWAYS[1], dst="ff02::1", hlim=255)
            / scapy.ICMPv6ND_NA(tgt=GATEWAYS[1], R=1, O=1)
            / scapy.ICMPv6NDOptDstLLAddr(lladdr=s.mac)
        ),
    ),
    "router advertisement": (
        "ND_IGNORED",
        lambda s: (
            ether(s, dst="33:33:00:00:00:01")
            / scapy.IPv6(src="fe80::99", dst="ff02::1", hlim=255)
            / scapy.ICMPv6ND_RA()
            / scapy.ICMPv6NDOptPrefixInfo(prefix="fd99::", prefixlen=64)
        ),
    ),
    "VLAN tag": ("VLAN", lambda s: ether(s) / scapy.Dot1Q(vlan=7) / udp4(s)),
    "service VLAN tag": (
        "VLAN",
        lambda s: ether(s, 0x88A8) / scapy.Dot1Q(vlan=7, type=0x8100) / scapy.Dot1Q() / udp4(s),
    ),
    "LLDP": ("NOT_IP", lambda s: ether(s, 0x88CC) / bytes(60)),
    "MPLS": ("NOT_IP", lambda s: ether(s, 0x8847) / bytes(4) / udp4(s)),
    "broadcast": (
        "MULTICAST",
        lambda s: ether(s, dst="ff:ff:ff:ff:ff:ff") / udp4(s, dst="255.255.255.255"),
    ),
    "the subnet's broadcast address": (
        "MULTICAST",
        lambda s: ether(s) / udp4(s, dst="10.64.1.255"),
    ),
    "multicast": (
        "MULTICAST",
        lambda s: ether(s, dst="01:00:5e:00:00:fb") / udp4(s, dst="224.0.0.251"),
    ),
    "multicast, IPv6": (
        "MULTICAST",
        lambda s: ether(s, dst="33:33:00:00:00:fb") / udp6(s, dst="ff02::fb"),
    ),
    "unicast in a broadcast frame": (
        "MULTICAST",
        lambda s: ether(s, dst="ff:ff:ff:ff:ff:ff") / udp4(s),
    ),
    "link-local": ("LINK_LOCAL", lambda s: ether(s) / udp6(s, dst="fe80::1")),
    "metadata address": ("LINK_LOCAL", lambda s: ether(s) / udp4(s, dst="169.254.169.254")),
    "loopback": ("MARTIAN", lambda s: ether(s) / udp4(s, dst="127.0.0.1")),
    "mapped address": ("MARTIAN", lambda s: ether(s) / udp6(s, dst=f"::ffff:{s.victim[0]}")),
    "TCP to the gateway": (
        "GATEWAY",
        lambda s: ether(s) / scapy.IP(src=s.own[0], dst=GATEWAYS[0]) / scapy.TCP(dport=22),
    ),
    "a host's address": ("NO_NETWORK", lambda s: ether(s) / udp4(s, dst=s.underlay)),
    "Geneve to a host": (
        "NO_NETWORK",
        lambda s: (
            ether(s)
            / scapy.IP(src=s.own[0], dst=s.underlay)
            / tunnelled(s, ether(s) / udp4(s), vni_of(s.lab, "ways"))
        ),
    ),
    "Geneve to a host as from a host": (
        "SPOOFED_ADDRESS",
        lambda s: (
            ether(s)
            / scapy.IP(src=s.lab.layout.hosts[0].address, dst=s.underlay)
            / tunnelled(s, ether(s) / udp4(s), vni_of(s.lab, "ways"))
        ),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_a_workloads_to_send_reaches_nobody(scene: Scene, case: str) -> None:
    reason, make = REFUSED[case]
    frame = bytes(make(scene))
    others = ("blue/neighbour", "blue/victim")
    before = {name: received(scene.lab, name) for name in others}
    with labkit.counted(scene.lab) as added:
        so_far = total(scene.lab, reason)
        send(scene, frame, COPIES)
        labkit.until(lambda: total(scene.lab, reason) >= so_far + COPIES, reason)
    assert added[reason] >= COPIES
    assert added["DELIVERED"] == added["DELIVERED_SAME_HOST"] == 0
    assert {name: received(scene.lab, name) for name in others} == before


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("target", ["blue/victim", "blue/neighbour"])
def test_from_its_secondary_addresses_a_workload_may_send(
    scene: Scene, family: int, target: str
) -> None:
    where = flows.address(scene.lab, target, 6 if family else 4)
    make = udp6 if family else udp4
    frame = bytes(ether(scene) / make(scene, src=SECONDARY[family], dst=where))
    before = received(scene.lab, target)
    send(scene, frame, COPIES)
    labkit.until(lambda: received(scene.lab, target) >= before + COPIES, "delivery")


def test_a_tunnel_inside_the_tunnel_is_nothing_but_payload(scene: Scene) -> None:
    """Neither the nested packet nor the options of its header mean anything to a host."""
    lab, vni = scene.lab, vni_of(scene.lab, "ways")
    neighbour = flows.address(lab, "blue/neighbour")
    place = scapy.inet_pton(socket.AF_INET6, f"::ffff:{scene.victim[0]}")
    elsewhere = scapy.inet_pton(socket.AF_INET6, "::ffff:198.18.1.250")
    hint = geneve.GeneveOptions(
        classid=0xFF4D, type=3, data=place + elsewhere + bytes(3) + b"\xff" + bytes(8)
    )
    nested = geneve.GENEVE(proto=0x6558, vni=vni, oam=1, options=[hint])
    payload = bytes(nested / ether(scene) / udp4(scene, dst=neighbour))
    victims, mallorys = (listening(lab, f"blue/{name}", 6081) for name in ("victim", "mallory"))
    with victims as victim, mallorys as mallory:
        before = received(lab, "blue/neighbour")
        with labkit.counted(lab) as added:
            mallory.sendto(payload, (scene.victim[0], 6081))
            assert victim.recv(2000) == payload
            mallory.sendto(b"still there", (scene.victim[0], 6081))
            assert victim.recv(2000) == b"still there"
    assert added["CONTROL_UNKNOWN"] == 0
    assert received(lab, "blue/neighbour") == before


def test_no_host_hears_of_a_workload(scene: Scene) -> None:
    """Its own host's addresses, another's, loopback's and the router's: no socket there gets it."""
    lab = scene.lab
    with contextlib.ExitStack() as stack:
        ears = []
        for host in lab.layout.hosts:
            with namespaces.entered(lab.netns(host.name)):
                ear = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            ear.bind(("0.0.0.0", 7))
            ear.setblocking(False)
            ears.append(ear)
        for host in lab.layout.hosts:
            for source in (scene.own[0], host.address, "127.0.0.1"):
                send(scene, bytes(ether(scene) / udp4(scene, src=source, dst=host.address)), 3)
        time.sleep(0.2)
        for ear in ears:
            with pytest.raises(BlockingIOError):
                ear.recv(100)


def test_an_error_reaches_the_endpoint_that_caused_it_and_no_namesake(lab: fleet.Lab) -> None:
    """blue/web1 and green/web1 have one address; nobody has the one that blue sends to."""
    blue, green = lab.workload("blue/web1"), lab.workload("green/web1")
    assert blue.address == green.address
    before = received(lab, "green/web1")
    with errors_of(lab, "blue/web1") as mine, errors_of(lab, "green/web1") as theirs:
        with flows.udp_socket(blue.netns) as sender:
            sender.sendto(b"?", ("10.0.1.250", 9))
            kind, code, quoted = mine(2.0)
        assert (kind, code) == (3, 1)
        assert quoted == "10.0.1.250"
        assert theirs(0.2) is None
    assert received(lab, "green/web1") == before


def test_errors_are_limited_for_each_endpoint(scene: Scene) -> None:
    lab = scene.lab
    time.sleep(ERROR_BUDGET / ERRORS_PER_S)
    frame = bytes(ether(scene) / scapy.IP(src=scene.own[0], dst=GATEWAYS[0]) / scapy.UDP(dport=9))
    with errors_of(lab, "blue/mallory") as hear, labkit.counted(lab, scene.host) as added:
        started_s = time.monotonic()
        send(scene, frame, 500)
        took_s = time.monotonic() - started_s
        count = 0
        while hear(0.2):
            count += 1
    assert added["GATEWAY"] == 500
    assert ERROR_BUDGET <= count <= ERROR_BUDGET + ERRORS_PER_S * took_s + 2


def send(scene: Scene, frame: bytes, copies: int) -> None:
    with namespaces.entered(scene.lab.netns("blue/mallory")):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with raw:
        raw.bind(("eth0", 0))
        for _ in range(copies):
            raw.send(frame)


def total(lab: fleet.Lab, reason: str) -> int:
    """Packets that all hosts have counted under a reason so far."""
    return sum(counts[reason].packets for counts in lab.counters().values())


def received(lab: fleet.Lab, endpoint: str) -> int:
    """Packets that the endpoint's interface has got so far."""
    with namespaces.entered(lab.netns(endpoint)):
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    fields = next(line.split() for line in lines if line.strip().startswith("eth0:"))
    return int(fields[2])


def mac(lab: fleet.Lab, name: str) -> str:
    tenant, _, short = name.partition("/")
    found = (e for e in lab.all_of("Endpoint") if e.metadata.tenant == tenant)
    return str(next(e.status.mac for e in found if e.metadata.name == short))


def vni_of(lab: fleet.Lab, vpc: str) -> int:
    return int(next(v.status.vni for v in lab.all_of("VPC") if v.metadata.name == vpc))


@contextlib.contextmanager
def listening(lab: fleet.Lab, endpoint: str, port: int) -> Iterator[socket.socket]:
    with flows.udp_socket(lab.netns(endpoint)) as made:
        made.bind(("", port))
        made.settimeout(2)
        yield made


Hear = Callable[[float], tuple[int, int, str] | None]


@contextlib.contextmanager
def errors_of(lab: fleet.Lab, endpoint: str) -> Iterator[Hear]:
    """ICMP errors as they come to an endpoint: type, code, destination of the quoted packet."""
    with namespaces.entered(lab.netns(endpoint)):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)

    def hear(timeout_s: float) -> tuple[int, int, str] | None:
        raw.settimeout(timeout_s)
        try:
            packet = raw.recv(2000)
        except TimeoutError:
            return None
        return packet[20], packet[21], socket.inet_ntoa(packet[28 + 16 : 28 + 20])

    with raw:
        yield hear
