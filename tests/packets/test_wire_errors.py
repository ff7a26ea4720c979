"""What real stacks make of our ICMP errors, and of questions cut out of real packets."""

import contextlib
import errno
import ipaddress
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import wire

from mizar.bpf import maps
from mizar.datapath import namespaces

A, B, C2 = "10.0.0.11", "10.0.0.12", "10.0.1.23"
NO_ENDPOINT, NO_NETWORK = "10.0.0.77", "10.9.9.9"
GATEWAY = "10.0.0.1"
TRANSFERS_MAX = 10
RAISED_MTU = 9000
SOL_PACKET, PACKET_AUXDATA, CHECKSUM_NOT_READY = 263, 8, 1 << 3
ETH_P_ALL = 3
Family = Callable[[str], str]


@pytest.fixture(scope="module", params=["tcx", "xdp"])
def hosts(request: pytest.FixtureRequest) -> Iterator[wire.Wire]:
    with wire.wired(request.param) as made:
        yield made


@pytest.fixture(params=[str, wire.six], ids=["IPv4", "IPv6"])
def of(request: pytest.FixtureRequest) -> Family:
    """An address in the family under test."""
    family: Family = request.param
    return family


@pytest.mark.parametrize("destination", [B, C2])
def test_tcp_with_a_wrong_mtu_recovers(hosts: wire.Wire, of: Family, destination: str) -> None:
    """The server offers segments of its own MTU's size, so the client's are too big."""
    before = hosts.counters(1)["TOO_BIG"][0]
    with raised_mtu(hosts, A, destination):
        wire.transfer(hosts, A, destination, to=of(destination), size="8M")
    assert hosts.counters(1)["TOO_BIG"][0] > before


def test_datagram_too_big_fails_with_the_right_mtu(hosts: wire.Wire, of: Family) -> None:
    """The first is lost and tells why, from then on the sender's own stack refuses."""
    with raised_mtu(hosts, A), udp(hosts, A, of(B)) as sender:
        sender.setsockopt(*DONT_CUT[sender.family])
        sender.send(bytes(wire.ENDPOINT_MTU))
        time.sleep(0.05)
        assert sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EMSGSIZE
        with pytest.raises(OSError, match="too long"):
            sender.send(bytes(wire.ENDPOINT_MTU))
        sender.send(bytes(wire.ENDPOINT_MTU - 48))
        assert sender.getsockopt(*MTU_OF[sender.family]) == wire.ENDPOINT_MTU


DONT_CUT = {socket.AF_INET: (0, 10, 2), socket.AF_INET6: (41, 23, 2)}
"""IP_MTU_DISCOVER and IPV6_MTU_DISCOVER: PMTUDISC_DO."""

MTU_OF = {socket.AF_INET: (0, 14), socket.AF_INET6: (41, 24)}
"""IP_MTU and IPV6_MTU."""


def test_traceroute_shows_the_gateway_then_the_target(hosts: wire.Wire, of: Family) -> None:
    assert f"From {compressed(of(GATEWAY))} " in hosts.run(A, f"ping -c 1 -t 1 {of(C2)}", False)
    assert f"from {compressed(of(C2))}: icmp_seq=1 ttl=63" in hosts.run(
        A, f"ping -c 1 -t 2 {of(C2)}"
    )


@pytest.mark.parametrize(
    ("target", "error"),
    [(NO_ENDPOINT, "No route to host"), (NO_NETWORK, "Network is unreachable")],
)
def test_connect_to_nobody_fails_at_once(
    hosts: wire.Wire,
    of: Family,
    target: str,
    error: str,
) -> None:
    """Host 3 asks its own tables. An IPv6 socket calls both errors unreachable."""
    started_s = time.monotonic()
    with endpoint_socket(hosts, C2, of(target), socket.SOCK_STREAM) as client:
        client.settimeout(5)
        with pytest.raises(OSError, match=error):
            client.connect((of(target), 80))
    assert time.monotonic() - started_s < 4


def test_ports_of_the_gateway_are_closed(hosts: wire.Wire, of: Family) -> None:
    with endpoint_socket(hosts, A, of(GATEWAY), socket.SOCK_STREAM) as client:
        client.settimeout(5)
        with pytest.raises(ConnectionRefusedError):
            client.connect((of(GATEWAY), 80))
    with udp(hosts, A, of(GATEWAY)) as sender:
        sender.send(b"anybody?")
        sender.settimeout(5)
        with pytest.raises(ConnectionRefusedError):
            sender.recv(1)


def test_gateway_answers_ping(hosts: wire.Wire, of: Family) -> None:
    assert hosts.ping(A, of(GATEWAY)) == 3


def test_error_about_an_unfinished_checksum_is_whole(hosts: wire.Wire, of: Family) -> None:
    """A veth carries TCP's checksum unfinished. Finished later, it would be written into the
    error, wherever that takes hardware or a tap to finish it."""
    with tap(hosts, A) as capture, udp(hosts, A, of(GATEWAY)) as sender:
        sender.send(b"anybody?")
        ((sent, unfinished), (error, left)) = [capture(), capture()]
    assert (unfinished, left) == (True, False)
    header = 20 if of is str else 40
    message = error[14 + header :]
    pseudo = b"" if of is str else error[22:54] + struct.pack("!II", len(message), 58)
    assert checksum(pseudo + message) == 0
    assert message[8:] == sent[14 : 14 + 128]


@contextlib.contextmanager
def tap(hosts: wire.Wire, address: str) -> Iterator[Callable[[], tuple[bytes, bool]]]:
    """The endpoint's next UDP or ICMP frame, in or out, and whether its checksum is unfinished."""
    with (
        namespaces.entered(hosts.endpoint(address)),
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as raw,
    ):
        raw.bind(("eth0", ETH_P_ALL))
        raw.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        raw.settimeout(5)

        def received() -> tuple[bytes, bool]:
            while True:
                frame, notes, _, _ = raw.recvmsg(65536, 256)
                protocol = frame[23] if frame[12:14] == b"\x08\x00" else frame[20]
                neighbours = protocol == 58 and frame[54] >= 133
                if protocol in (1, 17, 58) and not neighbours:
                    status = struct.unpack_from("I", notes[0][2])[0]
                    return frame, bool(status & CHECKSUM_NOT_READY)

        yield received


@pytest.mark.parametrize(
    ("inner", "size"),
    [("", "400M"), ("172.16.0.2", "40M")],
    ids=["plain", "in-a-tunnel-of-its-own"],
)
def test_questions_are_cut_out_of_whole_segments(
    hosts: wire.Wire,
    of: Family,
    inner: str,
    size: str,
) -> None:
    """Under a running transfer the locations go again and again: whole TSO packets are cloned."""
    locations = hosts.hosts[1].loaded.maps["locations"]
    before = after = hosts.counters(1)
    with own_tunnels(hosts, of) if inner else contextlib.nullcontext(), losing(locations):
        for _ in range(TRANSFERS_MAX):  # a fast one is over before a location is lost twice
            wire.transfer(hosts, A, C2, to=inner or of(C2), size=size)
            after = hosts.counters(1)
            if after["SENT_LOOKUP"][0] > before["SENT_LOOKUP"][0] + 1:
                break
    assert after["SENT_LOOKUP"][0] > before["SENT_LOOKUP"][0] + 1
    assert after["ENCAPSULATION_FAILED"] == before["ENCAPSULATION_FAILED"]
    assert after["HINT_TAKEN"][0] > before["HINT_TAKEN"][0]


@contextlib.contextmanager
def raised_mtu(hosts: wire.Wire, *addresses: str) -> Iterator[None]:
    for address in addresses:
        hosts.run(address, f"ip link set eth0 mtu {RAISED_MTU}")
    try:
        yield
    finally:
        for address in addresses:
            hosts.run(address, f"ip link set eth0 mtu {wire.ENDPOINT_MTU}")
            for family in "-4", "-6":
                hosts.run(address, f"ip {family} route flush cache")


def endpoint_socket(
    hosts: wire.Wire,
    address: str,
    destination: str,
    kind: socket.SocketKind,
) -> socket.socket:
    """Of the endpoint, in the destination's family."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with namespaces.entered(hosts.endpoint(address)):
        return socket.socket(family, kind)


def udp(hosts: wire.Wire, address: str, destination: str) -> socket.socket:
    """Connected to the destination's discard port."""
    made = endpoint_socket(hosts, address, destination, socket.SOCK_DGRAM)
    made.connect((destination, 9))
    return made


def compressed(address: str) -> str:
    return str(ipaddress.ip_address(address))


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@contextlib.contextmanager
def losing(table: maps.Map) -> Iterator[None]:
    """The table is emptied twenty times a second."""
    over = threading.Event()

    def empty() -> None:
        while not over.wait(0.05):
            table.delete_batch(list(table.keys()))

    thread = threading.Thread(target=empty)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def own_tunnels(hosts: wire.Wire, of: Family) -> Iterator[None]:
    for here, there, inner in ((A, C2, "172.16.0.1"), (C2, A, "172.16.0.2")):
        ends = f"local {of(here)} remote {of(there)} dstport 4789"
        hosts.run(here, f"ip link add own type vxlan id 3 {ends}")
        hosts.run(here, f"ip address add {inner}/24 dev own")
        hosts.run(here, "ip link set own mtu 1300 up")
    try:
        yield
    finally:
        for here in (A, C2):
            hosts.run(here, "ip link delete own")
