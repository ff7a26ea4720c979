"""The model's bounds and the wire's constants are those of bpf/model.h."""

import pathlib
import re

from mizar.model import addresses, limits
from mizar.server import controller

HEADER = (pathlib.Path(__file__).parents[2] / "bpf/model.h").read_text()


def declared(name):
    return int(re.search(rf"{name}\s*=?\s*(\d+)", HEADER)[1])


def test_limits_shared_with_the_tables_are_equal():
    assert declared("LIMIT_HOLDERS") == limits.HOLDERS
    assert declared("LIMIT_PORTS") == limits.PORTS


def test_an_address_rests_longer_than_a_location_is_believed():
    assert declared("LOCATION_FRESH_NS") < limits.ADDRESS_QUARANTINE_S * 1e9


def test_an_old_host_sends_on_for_longer_than_a_location_is_believed():
    assert declared("LOCATION_FRESH_NS") < controller.MOVE_LINGER_S * 1e9


def test_a_derived_mac_is_local_unicast_and_never_the_routers():
    mac = addresses.derived_mac(7, "10.0.0.5")
    first = int(mac[:2], 16)
    assert first & 1 == 0
    assert first & 2 == 2
    assert mac.endswith("0a:00:00:05")
    assert mac == addresses.derived_mac(7, "10.0.0.5")
    assert not addresses.ROUTER_MAC.startswith(addresses.DERIVED_FIRST_BYTES)


def test_a_mac_derived_from_ipv6_is_local_unicast_and_another_at_each_attempt():
    macs = [addresses.derived_mac(7, "fd00::5", attempt) for attempt in range(3)]
    assert {mac[:2] for mac in macs} == {addresses.DERIVED_FIRST_BYTES[1]}
    assert int(macs[0][:2], 16) & 3 == 2
    assert len({*macs, addresses.derived_mac(8, "fd00::5")}) == 4
    assert {len(mac) for mac in macs} == {17}
