"""Small pure pieces of the agent: HINT's bytes, choice of mode, names."""

import collections

import pytest
from scapy.contrib import geneve

from mizar.agent import hints, plumbing, uplink
from mizar.bpf import objects
from mizar.datapath import tables
from mizar.plan import entries

HintEvent = collections.namedtuple("HintEvent", "endpoint origin generation identity vni")


def test_a_hint_is_a_geneve_control_message():
    endpoint, origin = tables.address_bytes("10.0.0.5"), tables.address_bytes("192.0.2.9")
    event = HintEvent(endpoint, origin, generation=4, identity=3, vni=0x123456)
    types = objects.shipped("uplink").types
    header = geneve.GENEVE(hints.datagram(types, event, "192.0.2.1"))
    assert (header.version, header.oam, header.critical) == (0, 1, 0)
    assert (header.vni, header.proto) == (0x123456, 0x6558)
    [option] = header.options
    assert (option.classid, option.type) == (0xFF4D, 3)
    body = types.struct("hint_option").unpack(option.data)
    assert body == (endpoint, tables.address_bytes("192.0.2.1"), 4, 3, 0)


@pytest.mark.parametrize(
    ("driver", "wanted", "mode"),
    [
        ("veth", "auto", "tcx"),
        ("virtio_net", "auto", "tcx"),
        ("tun", "auto", "tcx"),
        ("mlx5_core", "auto", "xdp"),
        ("8139too", "auto", "tcx"),
        ("veth", "xdp", "xdp"),
        ("mlx5_core", "tcx", "tcx"),
    ],
)
def test_the_mode_follows_the_driver_unless_it_is_set(driver, wanted, mode):
    assert uplink.mode_for(driver, wanted) == mode


def test_interface_names_fit_and_differ():
    names = {plumbing.interface_name(f"uid-{number}") for number in range(1000)}
    assert len(names) == 1000
    assert all(plumbing.INTERFACE.fullmatch(name) and len(name) < 16 for name in names)


def test_no_two_endpoints_have_the_same_namespace_of_their_own():
    pairs = [("a", "b-c"), ("a-b", "c"), ("a-b-c", "c"), ("a", "b")]
    assert len({entries.own_netns("mizar", *pair) for pair in pairs}) == len(pairs)
