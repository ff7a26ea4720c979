"""Entries become rows, byte for byte as bpf/model.h lays them out."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizar.bpf import objects
from mizar.datapath import tables
from mizar.plan import entries

ENDPOINT = entries.EndpointEntry(
    uid="u1", tenant="blue", name="web", vni=7, addresses=["10.0.0.5"], prefixes=["10.0.0.0/24"],
    gateways=["10.0.0.1"], mac="02:00:00:00:00:05", netns="", interface="eth0", identity=3,
    generation=9,
)  # fmt: skip
MAPPED = bytes(10) + b"\xff\xff"


@given(st.ip_addresses())
def test_addresses_survive_the_16_byte_form(address):
    packed = tables.address_bytes(str(address))
    text = tables.address_text(packed)
    assert len(packed) == 16
    assert tables.address_bytes(text) == packed


@pytest.mark.parametrize(
    ("prefix", "bits", "address"),
    [
        ("10.1.0.0/16", 32 + 96 + 16, MAPPED + bytes([10, 1, 0, 0])),
        ("0.0.0.0/0", 32 + 96, MAPPED + bytes(4)),
        ("::/0", 32, bytes(16)),
        ("fd00::/64", 32 + 64, b"\xfd" + bytes(15)),
    ],
)
def test_a_prefix_counts_the_vni_and_the_mapped_part(prefix, bits, address):
    [row] = tables.rows(entries.SwitchNetworkEntry(7, prefix, 4))
    assert row == ("switch_networks", (bits, 7, address), (4,))


def test_holders_are_sorted_packed_and_padded():
    [row] = tables.rows(entries.RouteEntry(7, "::/0", "router", 0, ["192.0.2.9", "192.0.2.1"]))
    kind, count, network, holders = row.value
    assert (kind, count, network) == (2, 2, 0)
    assert holders == (
        tables.address_bytes("192.0.2.1") + tables.address_bytes("192.0.2.9") + bytes(96)
    )


def test_a_router_names_the_switches_and_the_sentinel_has_none():
    sentinel = tables.rows(entries.RouterNetworkEntry(7, "::/0", 0, []))
    assert sentinel[0].value == (1, 0, 0, bytes(128))


def test_an_endpoints_port_comes_after_its_addresses():
    rows = tables.endpoint_rows(ENDPOINT, 17, tables.INTERFACE_VETH)
    mac = bytes.fromhex("020000000005")
    ipv4 = MAPPED + bytes([10, 0, 0, 0]), bytes([255] * 15) + b"\0"
    ipv4 += tuple(MAPPED + bytes([10, 0, 0, number]) for number in (1, 5))
    lacking = bytes(16), bytes([255] * 16), bytes(16), bytes(16)
    assert rows == [
        ("local", (7, tables.address_bytes("10.0.0.5")), (17, 3, 9, mac, 0)),
        ("ports", 17, (7, 3, 9, mac, 0, *ipv4, *lacking)),
    ]


def test_a_port_knows_each_family_and_every_address_has_a_row():
    both = msgspec.structs.replace(
        ENDPOINT,
        addresses=["fd00::5", "10.0.0.5"],
        prefixes=["fd00::/64", "10.0.0.0/24"],
        gateways=["fd00::1", "10.0.0.1"],
        secondary=["10.0.0.9", "fd00::9"],
    )
    *local, port = tables.endpoint_rows(both, 17, tables.INTERFACE_VETH)
    texts = ("fd00::5", "10.0.0.5", "10.0.0.9", "fd00::9")
    assert [row.key for row in local] == [(7, tables.address_bytes(text)) for text in texts]
    assert len({row.value for row in local}) == 1
    prefix = b"\xfd" + bytes(15), bytes([255] * 8 + [0] * 8)
    assert port.value[9:] == (*prefix, *map(tables.address_bytes, ("fd00::1", "fd00::5")))
    assert port.value[5:9] == tables.endpoint_rows(ENDPOINT, 17, 0)[-1].value[5:9]


def test_constants_agree_with_the_object():
    types = objects.shipped("uplink").types
    assert types.enum("limit")["LIMIT_HOLDERS"] == tables.HOLDERS_MAX
    assert types.enum("transit_kind")["TRANSIT_ROUTER"] == tables.TRANSIT_KINDS["router"]
    assert types.enum("transit_kind")["TRANSIT_SWITCH"] == tables.TRANSIT_KINDS["switch"]
    assert types.enum("interface_kind")["INTERFACE_TAP"] == tables.INTERFACE_TAP


def test_every_row_fits_its_maps_codecs():
    spec = objects.shipped("endpoint").maps | objects.shipped("uplink").maps
    rows = tables.endpoint_rows(ENDPOINT, 17, tables.INTERFACE_VETH)
    for entry in (
        entries.HostEntry("a", "192.0.2.1", ["192.0.2.0/24"]),
        entries.RouteEntry(7, "10.0.0.0/24", "switch", 1, ["192.0.2.1"]),
        entries.RouterNetworkEntry(7, "10.0.0.0/24", 1, ["192.0.2.1"]),
        entries.SwitchNetworkEntry(7, "10.0.0.0/24", 1),
        entries.SwitchEndpointEntry(7, "10.0.0.5", "192.0.2.1", 3, 9),
        entries.MovedEntry(7, "10.0.0.6", "192.0.2.1", 3, 9),
    ):
        rows += tables.rows(entry)
    assert {row.map for row in rows} == {
        "underlay_prefixes", "routes", "router_networks", "switch_networks", "switch_endpoints",
        "local", "ports", "moved",
    }  # fmt: skip
    for row in rows:
        assert spec[row.map].key.unpack(spec[row.map].key.encode(row.key)) == row.key
        assert spec[row.map].value.unpack(spec[row.map].value.encode(row.value)) == row.value
