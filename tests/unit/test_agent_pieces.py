"""Small pure pieces of the agent: choice of mode, names."""

import pytest

from mizar.agent import plumbing, uplink
from mizar.plan import entries


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
