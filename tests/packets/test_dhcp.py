"""DHCP and DHCPv6 answered on the host: byte for byte, and what questions can be wrong about."""

import signal
import socket
import struct
from pathlib import Path

import backplane
import frames
import pytest
import wire
from backplane import (
    A6,
    A_MAC,
    B6,
    B_MAC,
    ENDPOINT_MTU,
    GATEWAY,
    GATEWAY6,
    REMOTE,
    REMOTE6,
    ROUTER_LINK_LOCAL,
    ROUTER_MAC,
    A,
    B,
    Host,
)
from frames import IP, UDP
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import (
    DUID_LL,
    DHCP6_Advertise,
    DHCP6_Reply,
    DHCP6OptClientId,
    DHCP6OptIA_NA,
    DHCP6OptIAAddress,
    DHCP6OptRapidCommit,
    DHCP6OptServerId,
    DHCP6OptStatusCode,
)
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from workload import Workload, until

from mizar.datapath import namespaces

EVERYBODY = "ff:ff:ff:ff:ff:ff"
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = 1, 2, 3, 4, 5, 6, 7, 8
MAGIC = bytes.fromhex("63825363")
END = b"\xff"
MAC_FIELD = backplane.mac(A_MAC) + bytes(range(10))


def option(code: int, body: bytes) -> bytes:
    return bytes([code, len(body)]) + body


def kind(number: int) -> bytes:
    return option(53, bytes([number]))


def ipv4(text: str) -> bytes:
    return backplane.mapped(text)[12:]


def asked(
    options: bytes,
    *,
    source: str = "0.0.0.0",
    to: str = "255.255.255.255",
    magic: bytes = MAGIC,
    upper: UDP | None = None,
    ip: dict[str, object] | None = None,
    **bootp: object,
) -> bytes:
    """What a client on endpoint A sends."""
    fields = {"op": 1, "xid": 0x12345678, "secs": 9, "hops": 3, "chaddr": MAC_FIELD, **bootp}
    head = IP(src=source, dst=to, **(ip or {})) / (upper or UDP(sport=68, dport=67))
    message = bytes(BOOTP(options=b"", **fields)) + magic + options
    return bytes(Ether(dst=EVERYBODY, src=A_MAC) / head / Raw(message))


def answered(number: int, *, broadcast: bool = False, **bootp: object) -> bytes:
    """What the host makes of it, by scapy."""
    nak = number == NAK
    grant = [
        ("lease_time", 86400),
        ("subnet_mask", "255.255.255.0"),
        ("router", GATEWAY),
        ("interface-mtu", ENDPOINT_MTU),
    ]
    identity = [("message-type", number), ("server_id", GATEWAY)]
    options = bytes(DHCP(options=[*identity, *([] if nak else grant), "end"]))
    fields = {"op": 2, "xid": 0x12345678, "chaddr": MAC_FIELD, "options": MAGIC, **bootp}
    message = bytes(BOOTP(yiaddr="0.0.0.0" if nak else A, **fields)) + options
    ip = IP(src=GATEWAY, dst="255.255.255.255" if broadcast else A, id=0, flags="DF", ttl=64)
    ether = Ether(dst=EVERYBODY if broadcast else A_MAC, src=ROUTER_MAC)
    udp = UDP(sport=67, dport=68, chksum=0)
    return bytes(ether / ip / udp / Raw(message.ljust(300, b"\0")))


@pytest.mark.parametrize("flags", [0, 0x8000])
@pytest.mark.parametrize("padding", [0, 60, 400, 1100])
def test_discover_becomes_the_offer(host: Host, flags: int, padding: int) -> None:
    packet = asked(kind(DISCOVER) + END + bytes(padding), flags=flags, giaddr="10.0.0.9")
    outcome = host.run("endpoint", packet)
    assert outcome.reason == "DHCP_ANSWERED"
    expected = answered(OFFER, broadcast=bool(flags), flags=flags, giaddr="10.0.0.9")
    assert outcome.packet == expected
    assert len(outcome.packet) == 14 + 328


@pytest.mark.parametrize(
    ("options", "fields", "answer"),
    [
        (option(50, ipv4(A)) + option(54, ipv4(GATEWAY)), {}, ACK),
        (option(50, ipv4(A)), {}, ACK),
        (option(50, ipv4(A)), {"ciaddr": B}, ACK),
        (b"", {"ciaddr": A, "source": A, "to": GATEWAY}, ACK),
        (option(50, ipv4(B)), {}, NAK),
        (option(50, ipv4(B)), {"ciaddr": A, "source": A}, NAK),
        (b"", {"ciaddr": B}, NAK),
        (b"", {}, NAK),
    ],
    ids=frames.named,
)
def test_request_becomes_ack_or_nak(
    host: Host,
    options: bytes,
    fields: dict[str, str],
    answer: int,
) -> None:
    outcome = host.run("endpoint", asked(kind(REQUEST) + options + END, **fields))
    assert outcome.reason == "DHCP_ANSWERED"
    assert outcome.packet == answered(answer, broadcast=answer == NAK)


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (b"\0" * 31 + kind(DISCOVER), OFFER),
        (b"\0" * 32 + kind(DISCOVER), None),
        (b"\0\0" + kind(DISCOVER) + END, OFFER),
        (kind(DISCOVER), OFFER),
        (END + kind(DISCOVER), None),
        (END + b"\0" + kind(DISCOVER), None),
        (b"", None),
        (b"\x35", None),
        (b"\x35\x01", None),
        (b"\x35\x02\x01", None),
        (option(53, b"\1\1"), None),
        (option(53, b"\1\1") + kind(DISCOVER), OFFER),
        (option(53, b"") + kind(DISCOVER), OFFER),
        (option(12, bytes(255)) + kind(DISCOVER), OFFER),
        (b"\x0c\xff" + kind(DISCOVER), None),
        (kind(DISCOVER) + kind(INFORM), OFFER),
        (kind(INFORM) + kind(DISCOVER), None),
        (kind(0) + kind(DISCOVER), None),
        (kind(REQUEST) + option(50, ipv4(A)[:3]), NAK),
        (kind(REQUEST) + option(50, ipv4(A) + b"\0"), NAK),
        (kind(REQUEST) + option(50, ipv4(A)) + option(50, ipv4(B)), ACK),
        (kind(REQUEST) + option(50, ipv4(A)) + b"\x36\x05" + ipv4(B), ACK),
    ],
    ids=frames.named,
)
def test_walk_over_the_options(host: Host, options: bytes, answer: int | None) -> None:
    outcome = host.run("endpoint", asked(options))
    assert outcome.reason == ("DHCP_ANSWERED" if answer else "DHCP_IGNORED")
    if answer:
        assert outcome.packet == answered(answer, broadcast=answer == NAK)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (asked(b"")[:-1], "TRUNCATED"),
        (asked(kind(DISCOVER), ip={"len": 20 + 8 + 239}), "MALFORMED"),
        (asked(kind(DISCOVER), ip={"len": 20 + 8 + 242}), "DHCP_IGNORED"),
        (asked(kind(DISCOVER), magic=b"\x63\x82\x53\x62"), "MALFORMED"),
        (asked(kind(DISCOVER), op=2), "MALFORMED"),
        (asked(kind(DISCOVER), source=B), "SPOOFED_ADDRESS"),
        (asked(kind(DISCOVER), source=REMOTE), "SPOOFED_ADDRESS"),
        (asked(kind(DISCOVER), chaddr=backplane.mac(B_MAC)), "SPOOFED_MAC"),
        (asked(kind(RELEASE)), "DHCP_IGNORED"),
        (asked(kind(DECLINE)), "DHCP_IGNORED"),
        (asked(kind(INFORM)), "DHCP_IGNORED"),
        (asked(kind(OFFER)), "DHCP_IGNORED"),
        (asked(kind(REQUEST) + option(54, ipv4(B)) + option(50, ipv4(A))), "DHCP_IGNORED"),
        (asked(kind(DISCOVER), ip={"flags": "MF"}), "MULTICAST"),
        (asked(kind(DISCOVER), ip={"frag": 1}), "MULTICAST"),
        (asked(kind(DISCOVER), upper=UDP(sport=67, dport=68)), "DHCP_IGNORED"),
        (asked(kind(DISCOVER), ip={"proto": 6}), "MULTICAST"),
    ],
    ids=frames.named,
)
def test_questions_that_get_no_answer(host: Host, packet: bytes, reason: str) -> None:
    assert host.run("endpoint", packet).reason == reason


def test_udp_length_and_ip_options_change_nothing(host: Host) -> None:
    odd = asked(
        kind(DISCOVER),
        upper=UDP(sport=68, dport=67, len=9, chksum=7),
        ip={"options": b"\1" * 40},
    )
    assert host.run("endpoint", odd).packet == answered(OFFER)


def test_network_without_ipv4_gives_no_lease(host: Host) -> None:
    host.port(subnet="")
    assert host.run("endpoint", asked(kind(DISCOVER))).reason == "DHCP_IGNORED"


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (frames.sent(B, l4=UDP(sport=67, dport=68)), "DHCP_IGNORED"),
        (frames.sent6(backplane.B6, l4=UDP(sport=547, dport=546)), "DHCP_IGNORED"),
        (frames.sent(B, l4=UDP(sport=547, dport=546)), "DELIVERED_SAME_HOST"),
        (frames.sent6(backplane.B6, l4=UDP(sport=67, dport=68)), "DELIVERED_SAME_HOST"),
        (frames.sent(B, l4=frames.TCP(sport=67, dport=68)), "DELIVERED_SAME_HOST"),
        (frames.sent(B, l4=UDP(sport=67, dport=67)), "DELIVERED_SAME_HOST"),
    ],
    ids=frames.named,
)
def test_no_workload_is_anothers_server(host: Host, packet: bytes, reason: str) -> None:
    assert host.run("endpoint", packet).reason == reason


SOLICIT, ADVERTISE, REQUEST6, CONFIRM, RENEW, REBIND, REPLY = 1, 2, 3, 4, 5, 6, 7
RELEASE6, DECLINE6, INFORMATION = 8, 9, 11
CLIENT = b"\0\1\0\1" + bytes(range(10))
OURS = struct.pack("!HH", 3, 1) + backplane.mac(ROUTER_MAC)
OWN_LINK_LOCAL = "fe80::77"
KERNEL_LINK_LOCAL = "fe80::ff:fe00:a"
IAID = 0xC0FFEE
TRANSACTION = 0xABCDEF


def option6(code: int, body: bytes) -> bytes:
    return struct.pack("!HH", code, len(body)) + body


def client(identifier: bytes = CLIENT) -> bytes:
    return option6(1, identifier)


def ia(iaid: int = IAID, body: bytes = b"") -> bytes:
    return option6(3, struct.pack("!III", iaid, 0, 0) + body)


def holding(address: str) -> bytes:
    """An IA_NA with an address."""
    return ia(body=option6(5, backplane.mapped(address) + bytes(8)))


RAPID = option6(14, b"")


def asked6(
    number: int,
    options: bytes,
    *,
    source: str = OWN_LINK_LOCAL,
    between: Packet | None = None,
    udp: dict[str, int] | None = None,
    keep: int | None = None,
    transaction: int = TRANSACTION,
    **ip: object,
) -> bytes:
    """What a client on endpoint A sends; `keep`: bytes of its message."""
    message = (struct.pack("!I", number << 24 | transaction) + options)[:keep]
    head = IPv6(src=source, dst="ff02::1:2", **ip)
    if between is not None:
        head = head / between
    upper = UDP(**{"sport": 546, "dport": 547, **(udp or {})})
    return bytes(Ether(dst="33:33:00:01:00:02", src=A_MAC) / head / upper / Raw(message))


def answered6(
    number: int,
    *,
    source: str = OWN_LINK_LOCAL,
    identifier: bytes = CLIENT,
    iaid: int | None = None,
    rapid: bool = False,
    status: int | None = None,
    transaction: int = TRANSACTION,
) -> bytes:
    """What the host makes of it, by scapy."""
    message = DHCP6_Advertise if number == ADVERTISE else DHCP6_Reply
    content = message(trid=transaction) / DHCP6OptClientId(duid=Raw(identifier))
    content /= DHCP6OptServerId(duid=DUID_LL(lladdr=ROUTER_MAC))
    if rapid:
        content /= DHCP6OptRapidCommit()
    if iaid is not None:
        address = DHCP6OptIAAddress(addr=A6, preflft=86400, validlft=86400)
        content /= DHCP6OptIA_NA(iaid=iaid, T1=43200, T2=69120, ianaopts=[address])
    if status is not None:
        content /= DHCP6OptStatusCode(statuscode=status)
    ip = IPv6(src=ROUTER_LINK_LOCAL, dst=source, hlim=64)
    return bytes(Ether(dst=A_MAC, src=ROUTER_MAC) / ip / UDP(sport=547, dport=546) / content)


@pytest.mark.parametrize("source", [OWN_LINK_LOCAL, A6])
@pytest.mark.parametrize("size", [*range(1, 12), 63, 64, 129, 130])
@pytest.mark.parametrize("with_ia", [True, False])
def test_solicit_becomes_the_advertise(host: Host, size: int, with_ia: bool, source: str) -> None:
    identifier = bytes(range(size))
    options = client(identifier) + ia() * with_ia + option6(6, bytes(8))
    outcome = host.run("endpoint", asked6(SOLICIT, options, source=source))
    iaid = IAID if with_ia else None
    assert outcome.reason == "DHCP_ANSWERED"
    expected = answered6(ADVERTISE, source=source, identifier=identifier, iaid=iaid)
    assert outcome.packet == expected


@pytest.mark.parametrize(
    ("number", "options", "expected"),
    [
        (SOLICIT, client() + RAPID + ia(), answered6(REPLY, iaid=IAID, rapid=True)),
        (SOLICIT, client() + RAPID, answered6(REPLY, rapid=True)),
        (REQUEST6, client() + option6(2, OURS) + ia(), answered6(REPLY, iaid=IAID)),
        (REQUEST6, client() + RAPID + ia(), answered6(REPLY, iaid=IAID)),
        (RENEW, client() + option6(2, OURS) + ia(), answered6(REPLY, iaid=IAID)),
        (REBIND, client() + ia(), answered6(REPLY, iaid=IAID)),
        (CONFIRM, client() + holding(A6), answered6(REPLY, status=0)),
        (CONFIRM, client() + RAPID + holding(A6), answered6(REPLY, status=0)),
        (CONFIRM, client() + holding(REMOTE6), answered6(REPLY, status=4)),
        (CONFIRM, client() + holding(REMOTE6) + holding(A6), answered6(REPLY, status=4)),
        (REBIND, client() + holding(REMOTE6), answered6(REPLY, iaid=IAID)),
        (INFORMATION, client() + ia(), answered6(REPLY)),
    ],
    ids=frames.named,
)
def test_other_messages_become_replies(
    host: Host,
    number: int,
    options: bytes,
    expected: bytes,
) -> None:
    outcome = host.run("endpoint", asked6(number, options))
    assert outcome.reason == "DHCP_ANSWERED"
    assert outcome.packet == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (ia() + client(), answered6(ADVERTISE, iaid=IAID)),
        (client() + ia(1) + ia(2), answered6(ADVERTISE, iaid=1)),
        (client() + ia(0) + ia(2), answered6(ADVERTISE, iaid=0)),
        (client() + ia(7, bytes(300)), answered6(ADVERTISE, iaid=7)),
        (client() + option6(3, bytes(11)) + ia(3), answered6(ADVERTISE, iaid=3)),
        (client() + client(b"other"), answered6(ADVERTISE)),
        (client(b"") + client(), answered6(ADVERTISE)),
        (client(bytes(131)) + client(), answered6(ADVERTISE)),
        (option6(6, b"") * 15 + client(), answered6(ADVERTISE)),
        (option6(6, b"") * 15 + client() + ia(), answered6(ADVERTISE)),
        (client() + ia()[:-1], answered6(ADVERTISE)),
        (client() + b"\0\3\0", answered6(ADVERTISE)),
        (client() + b"\0\6\xff\xff" + ia(), answered6(ADVERTISE)),
        (option6(6, b"") * 16 + client(), None),
        (b"\0\6\xff\xff" + client(), None),
        (client(b""), None),
        (client(bytes(131)), None),
        (client()[:-1], None),
        (b"", None),
        (client() + option6(2, OURS[:-1] + b"\2"), None),
        (client() + option6(2, OURS[:3] + b"\2" + OURS[4:]), None),
        (client() + option6(2, OURS + b"\0"), None),
        (client() + option6(2, OURS[:-1]), None),
        (client() + option6(2, b""), None),
        (client() + option6(2, OURS) + option6(2, CLIENT), None),
    ],
    ids=frames.named,
)
def test_walk_over_the_options6(host: Host, options: bytes, expected: bytes | None) -> None:
    outcome = host.run("endpoint", asked6(SOLICIT, options))
    assert outcome.reason == ("DHCP_ANSWERED" if expected else "DHCP_IGNORED")
    assert not expected or outcome.packet == expected


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (asked6(SOLICIT, b"", keep=3), "MALFORMED"),
        (asked6(SOLICIT, client())[:-1], "TRUNCATED"),
        (asked6(SOLICIT, client(), plen=11), "MALFORMED"),
        (asked6(SOLICIT, client(), plen=8 + 4 + 17), "DHCP_IGNORED"),
        (asked6(SOLICIT, client(), source=B6), "SPOOFED_ADDRESS"),
        (asked6(SOLICIT, client(), source=REMOTE6), "SPOOFED_ADDRESS"),
        (asked6(SOLICIT, client(), source="::"), "SPOOFED_ADDRESS"),
        *((asked6(n, client() + ia()), "DHCP_IGNORED") for n in (0, 2, 7, 8, 9, 10, 12, 13, 255)),
        (asked6(CONFIRM, client()), "DHCP_IGNORED"),
        (asked6(CONFIRM, client() + ia()), "DHCP_IGNORED"),
        (asked6(CONFIRM, client() + ia(body=option6(13, bytes(24)))), "DHCP_IGNORED"),
        (asked6(CONFIRM, client() + ia(body=option6(5, bytes(15)))), "DHCP_IGNORED"),
        (asked6(CONFIRM, ia(body=option6(5, bytes(15))) + client()), "DHCP_IGNORED"),
        (asked6(SOLICIT, client(), udp={"sport": 547}), "MULTICAST"),
        (asked6(SOLICIT, client(), udp={"dport": 546}), "MULTICAST"),
        (asked6(SOLICIT, client(), between=IPv6ExtHdrFragment(m=1)), "MULTICAST"),
    ],
    ids=frames.named,
)
def test_questions_that_get_no_answer6(host: Host, packet: bytes, reason: str) -> None:
    assert host.run("endpoint", packet).reason == reason


def test_checksum_that_comes_out_zero_is_sent_as_ones(host: Host) -> None:
    """Zero would say that there is none (RFC 8200, 8.1)."""
    usual = int.from_bytes(answered6(ADVERTISE)[60:62], "big")
    high, low = TRANSACTION & ~0xFFFF, (TRANSACTION & 0xFFFF) + usual
    transaction = high | (low + (low >> 16)) & 0xFFFF
    answer = host.run("endpoint", asked6(SOLICIT, client(), transaction=transaction)).packet
    assert answer == answered6(ADVERTISE, transaction=transaction)
    assert answer[60:62] == b"\xff\xff"


def test_extension_headers_and_the_destination_change_nothing(host: Host) -> None:
    odd = asked6(SOLICIT, client() + ia(), between=IPv6ExtHdrDestOpt(), udp={"len": 9})
    assert host.run("endpoint", odd).packet == answered6(ADVERTISE, iaid=IAID)
    direct = bytearray(asked6(RENEW, client() + ia(), source=A6))
    direct[38:54] = backplane.mapped(GATEWAY6)
    expected = answered6(REPLY, iaid=IAID, source=A6)
    assert host.run("endpoint", bytes(direct)).packet == expected


def test_network_without_ipv6_gives_no_lease(host: Host) -> None:
    host.port(subnet6="")
    outcome = host.run("endpoint", asked6(SOLICIT, client() + ia()))
    assert outcome.reason == "DHCP_IGNORED"


HOOK = """#!/bin/sh
# Called by udhcpc with the event as $1, by dhclient with it in $reason.
env | sed "s/^/$1$reason /" >>"{heard}"
if [ "$1" = bound ]; then
	ip address add "$ip/$mask" dev "$interface"
	ip link set dev "$interface" mtu "$mtu"
	ip route add default via "$router"
fi
exit 0
"""
OLD_LEASE = """lease {{
  interface "eth0";
  fixed-address {address};
  option dhcp-server-identifier {server};
  option dhcp-lease-time 86400;
  renew 5 2037/01/01 00:00:00;
  rebind 5 2037/01/01 00:00:00;
  expire 5 2037/01/01 00:00:00;
}}
"""
OLD_LEASE6 = """default-duid "\\000\\003\\000\\001\\002\\000\\000\\000\\000\\012";
lease6 {{
  interface "eth0";
  ia-na 00:00:00:0a {{
    starts 1795473745;
    renew 43200;
    rebind 69120;
    iaaddr {address} {{
      starts 1795473745;
      preferred-life 300000000;
      max-life 300000000;
    }}
  }}
  option dhcp6.client-id 0:3:0:1:2:0:0:0:0:a;
  option dhcp6.server-id 0:3:0:1:2:4d:5a:0:0:1;
}}
"""


class Hook:
    """The script that a client calls with what it has learned, and what it was called with."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "hook"
        self._heard = directory / "heard"
        self._heard.touch()
        self.path.write_text(HOOK.format(heard=self._heard))
        self.path.chmod(0o755)

    def heard(self, event: str) -> dict[str, str]:
        """The variables of the last call with an event; empty before it."""
        lines = self._heard.read_text().splitlines()
        facts = (line.removeprefix(f"{event} ") for line in lines if line.startswith(f"{event} "))
        return dict(fact.split("=", 1) for fact in facts)

    def dhclient(self, family: str, leases: str = "", settings: str = "") -> str:
        """The command, with old leases and lines of its configuration file."""
        (self.directory / "settings").write_text(settings)
        if leases:
            (self.directory / "leases").write_text(leases)
        files = (
            f"-cf {self.directory}/settings -lf {self.directory}/leases -pf {self.directory}/pid"
        )
        return f"dhclient {family} -1 -d -v {files} -sf {self.path} eth0"


@pytest.fixture
def hook(tmp_path: Path) -> Hook:
    return Hook(tmp_path)


def test_udhcpc_takes_the_lease_uses_it_and_renews_it(
    workload: Workload,
    hook: Hook,
    tmp_path: Path,
) -> None:
    """The answer to the first, unicast renewal arrives while its socket, which udhcpc closes at
    once, still takes it from the one that listens; the second, by broadcast, is heard.
    """
    command = f"udhcpc -f -n -i eth0 -t 5 -T 1 -s {hook.path}"
    with workload.running(command, tmp_path / "output") as client:
        until(lambda: hook.heard("bound"), "a lease")
        lease = hook.heard("bound")
        until(lambda: "default" in workload.done("ip route"), "a default route")
        answers = workload.done(f"ping -c 2 -i 0.02 -W 1 {GATEWAY}")
        client.send_signal(signal.SIGUSR1)
        until(lambda: hook.heard("renew"), "a renewed lease")
    facts = {name: lease[name] for name in ("ip", "subnet", "router", "mtu", "lease", "serverid")}
    assert facts == {
        "ip": A,
        "subnet": "255.255.255.0",
        "router": GATEWAY,
        "mtu": str(ENDPOINT_MTU),
        "lease": "86400",
        "serverid": GATEWAY,
    }
    assert answers.count("bytes from") == 2
    assert hook.heard("renew")["ip"] == A


def test_dhclient_gives_up_the_address_of_another_network(
    workload: Workload,
    hook: Hook,
    tmp_path: Path,
) -> None:
    """It asks for its old address, hears NAK, and begins anew."""
    leases = OLD_LEASE.format(address=REMOTE, server=GATEWAY)
    with workload.running(hook.dhclient("-4", leases), tmp_path / "output"):
        until(lambda: hook.heard("BOUND"), "a lease")
    assert hook.heard("EXPIRE")["old_ip_address"] == REMOTE
    lease = hook.heard("BOUND")
    assert (lease["new_ip_address"], lease["new_interface_mtu"]) == (A, str(ENDPOINT_MTU))
    assert "DHCPNAK from 10.0.0.1" in (tmp_path / "output").read_text()


@pytest.mark.parametrize(
    ("settings", "messages"),
    [("", 2), ("send dhcp6.rapid-commit;\n", 1)],
    ids=["solicit-request", "rapid-commit"],
)
def test_dhclient_gets_its_ipv6_address_and_has_it_confirmed(
    workload: Workload,
    hook: Hook,
    tmp_path: Path,
    settings: str,
    messages: int,
) -> None:
    workload.link_local_ready()
    with workload.running(hook.dhclient("-6", settings=settings), tmp_path / "output"):
        until(lambda: hook.heard("BOUND6"), "a lease")
    lease = hook.heard("BOUND6")
    assert lease["new_ip6_address"] == A6
    assert (lease["new_preferred_life"], lease["new_max_life"]) == ("86400", "86400")
    assert lease["new_dhcp6_server_id"] == "0:3:0:1:2:4d:5a:0:0:1"
    assert workload.counted("DHCP_ANSWERED") == messages
    output = tmp_path / "again"
    with workload.running(hook.dhclient("-6"), output):
        until(lambda: "message status code Success" in output.read_text(), "a confirmation")
    assert workload.counted("DHCP_ANSWERED") == messages + 1


def test_dhclient_gives_up_the_ipv6_address_of_another_network(
    workload: Workload,
    hook: Hook,
    tmp_path: Path,
) -> None:
    """It asks whether its old address is on the link still, hears no, and begins anew."""
    workload.link_local_ready()
    output = tmp_path / "output"
    with workload.running(hook.dhclient("-6", OLD_LEASE6.format(address=REMOTE6)), output):
        until(lambda: hook.heard("BOUND6").get("new_ip6_address") == A6, "a lease")
    assert "XMT: Confirm on eth0" in output.read_text()


@pytest.mark.parametrize("padding", [0, 300])
def test_checksum_left_to_the_hardware_is_not_written_into_the_answer(
    workload: Workload,
    padding: int,
) -> None:
    """Linux leaves a UDP checksum to be filled in on the way, which here is done in software."""
    workload.link_local_ready()
    wire.run(workload.host, "ethtool -K outside tx off")
    question = struct.pack("!I", SOLICIT << 24 | TRANSACTION) + client() + ia() + bytes(padding)
    with (
        namespaces.entered(workload.netns),
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD)) as raw,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as asker,
    ):
        raw.bind(("eth0", 0x86DD))
        raw.settimeout(5)
        asker.bind(("::", 546))
        asker.sendto(question, ("ff02::1:2", 547, 0, socket.if_nametoindex("eth0")))
        arrived = iter(lambda: raw.recv(2000), b"")
        answer = next(frame for frame in arrived if UDP in Ether(frame))
    assert answer == answered6(ADVERTISE, source=KERNEL_LINK_LOCAL, iaid=IAID)


def test_dhclient_hears_that_there_is_nothing_more_to_know(workload: Workload, hook: Hook) -> None:
    workload.link_local_ready()
    workload.done(hook.dhclient("-6").replace(" -1 ", " -S -1 "))
    assert hook.heard("RENEW6")["new_dhcp6_server_id"] == "0:3:0:1:2:4d:5a:0:0:1"
