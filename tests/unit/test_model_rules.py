"""Rules on one resource alone: each mistake is named with its field and a way out."""

import msgspec
import pytest
from fleet import endpoint, host, network, tenant, vpc

from mizar.model import rules

GOOD = {
    "tenant": tenant(),
    "host": host(1),
    "vpc": vpc("prod", "10.0.0.0/8", "172.16.0.0/12"),
    "network": network("front", "prod", "10.0.0.0/30", gateway="10.0.0.2"),
    "both": network("both", "prod", "10.0.0.0/30 fd00::/64", gateway="fd00::ffff"),
    "ipv6": network("ipv6", "prod", "fd00::/126"),
    "endpoint": endpoint("web1", "front", address="10.0.0.1", mac="02:00:00:00:00:01", netns="a_b"),
    "second": endpoint("web2", "both", address="fd00::5 10.0.0.2", also="10.0.0.3 fd00::7"),
}


def changed(kind, part, **fields):
    resource = GOOD[kind]
    section = msgspec.structs.replace(getattr(resource, part), **fields)
    return msgspec.structs.replace(resource, **{part: section})


@pytest.mark.parametrize("kind", GOOD)
def test_good_ones_have_no_problem(kind):
    assert rules.check(GOOD[kind]) == []


@pytest.mark.parametrize(
    ("kind", "part", "fields", "message"),
    [
        ("tenant", "metadata", {"name": ""}, "not a valid name"),
        ("tenant", "metadata", {"name": "a" * 64}, "not a valid name"),
        ("tenant", "metadata", {"name": "Acme"}, "lower-case"),
        ("tenant", "metadata", {"name": "a\n"}, "not a valid name"),
        ("tenant", "metadata", {"tenant": "acme"}, "lives in no tenant"),
        ("vpc", "metadata", {"tenant": ""}, "-n TENANT"),
        ("vpc", "metadata", {"tenant": "a/b"}, "not a valid name"),
        ("vpc", "metadata", {"labels": {"a b": "c"}}, "not a valid label key"),
        ("vpc", "metadata", {"labels": {"UP/b": "c"}}, "not a valid label key"),
        ("vpc", "metadata", {"labels": {"a": "-"}}, "not a valid label value"),
        ("vpc", "metadata", {"labels": {f"a{n}": "" for n in range(65)}}, "at most 64"),
        ("host", "spec", {"address": "host1"}, "not an IP address"),
        ("host", "spec", {"address": "127.0.0.1"}, "loopback"),
        ("host", "spec", {"address": "fd00::1"}, "IPv6, and the underlay is IPv4"),
        ("vpc", "spec", {"cidrs": []}, "0 ranges"),
        ("vpc", "spec", {"cidrs": ["10.0.0.1/8"]}, "host bits set; did you mean 10.0.0.0/8?"),
        ("vpc", "spec", {"cidrs": ["10.0.0.0/255.0.0.0"]}, "did you mean 10.0.0.0/8?"),
        ("vpc", "spec", {"cidrs": ["10.0.0.0"]}, "did you mean 10.0.0.0/32?"),
        ("vpc", "spec", {"cidrs": ["ten"]}, "not an address range"),
        ("vpc", "spec", {"cidrs": ["fd00::1/8"]}, "host bits set; did you mean fd00::/8?"),
        ("vpc", "spec", {"cidrs": ["FD00::/8"]}, "not in usual form; did you mean fd00::/8?"),
        ("vpc", "spec", {"cidrs": ["::/0"]}, "loopback"),
        ("vpc", "spec", {"cidrs": ["::1/128"]}, "includes loopback addresses"),
        ("vpc", "spec", {"cidrs": ["::ffff:a00:0/104"]}, "includes IPv4-mapped addresses"),
        ("vpc", "spec", {"cidrs": ["::ffff:10.0.0.0/104"]}, "includes IPv4-mapped addresses"),
        ("vpc", "spec", {"cidrs": ["fe80::/64"]}, "includes link-local addresses"),
        ("vpc", "spec", {"cidrs": ["ff02::/16"]}, "includes multicast addresses"),
        ("vpc", "spec", {"cidrs": ["fd00::/8", "fd00:1::/48"]}, "overlaps fd00::/8"),
        ("vpc", "spec", {"cidrs": ["0.0.0.0/0"]}, "this host"),
        ("vpc", "spec", {"cidrs": ["224.1.0.0/16"]}, "multicast"),
        ("vpc", "spec", {"cidrs": ["169.254.1.0/24"]}, "link-local"),
        ("vpc", "spec", {"cidrs": ["10.0.0.0/8", "10.1.0.0/16"]}, "overlaps 10.0.0.0/8"),
        ("vpc", "spec", {"cidrs": ["10.0.0.0/24"] * 17}, "17 ranges"),
        ("vpc", "spec", {"routers": 0}, "1 to 8"),
        ("vpc", "spec", {"routers": 9}, "1 to 8"),
        ("network", "spec", {"switches": -1}, "1 to 8"),
        ("network", "spec", {"cidrs": []}, "no range is given"),
        ("network", "spec", {"cidrs": ["10.0.0.0/31"]}, "no size for a network; use /8 to /30"),
        ("network", "spec", {"cidrs": ["fd00::/127"]}, "no size for a network; use /48 to /126"),
        ("network", "spec", {"cidrs": ["fd00::/32"]}, "no size for a network; use /48 to /126"),
        ("network", "spec", {"cidrs": ["10.0.0.0/30"] * 2}, "2 of IPv4 are given"),
        ("both", "spec", {"cidrs": ["fd00::/64"] * 2}, "2 of IPv6 are given"),
        ("both", "spec", {"gateways": ["fd00::"]}, "subnet-router anycast address"),
        ("both", "spec", {"gateways": ["fd01::1"]}, "outside fd00::/64; use fd00::1 to fd00::ffff"),
        ("network", "spec", {"gateways": ["fd00::1"]}, "no IPv6 range; use one of 10.0.0.0/30"),
        ("network", "spec", {"gateways": ["10.0.1.1"]}, "outside 10.0.0.0/30; use 10.0.0.1"),
        ("network", "spec", {"gateways": ["10.0.0.0"]}, "network address"),
        ("network", "spec", {"gateways": ["10.0.0.3"]}, "broadcast address"),
        ("network", "spec", {"vpc": "a b"}, "not a valid name"),
        ("endpoint", "spec", {"addresses": ["10.0.0.256"]}, "not an IP address"),
        ("endpoint", "spec", {"addresses": ["10.0.0.1", "10.0.0.2"]}, "2 of IPv4 are given"),
        ("endpoint", "spec", {"addresses": ["::ffff:10.0.0.1"]}, "did you mean 10.0.0.1?"),
        ("endpoint", "spec", {"addresses": ["fd00::1%eth0"]}, "leave out what follows the %"),
        ("endpoint", "spec", {"addresses": ["fd00:0::1"]}, "did you mean fd00::1?"),
        ("second", "spec", {"secondaryAddresses": ["10.0.0.2"]}, "given twice"),
        ("second", "spec", {"secondaryAddresses": ["fd00::7"] * 2}, "given twice"),
        ("second", "spec", {"secondaryAddresses": ["::ffff:1.2.3.4"]}, "did you mean 1.2.3.4?"),
        ("second", "spec", {"secondaryAddresses": ["10.0.0.9"] * 17}, "give at most 16"),
        ("endpoint", "spec", {"mac": "01:00:5e:00:00:01"}, "not a unicast"),
        ("endpoint", "spec", {"mac": "02-00-00-00-00-0A"}, "did you mean 02:00:00:00:00:0a?"),
        ("endpoint", "spec", {"mac": "02:4d:5a:00:00:01"}, "virtual router"),
        ("endpoint", "spec", {"mac": "zz"}, "not a MAC"),
        ("endpoint", "spec", {"netns": "a/b"}, "without space and slash"),
        ("endpoint", "spec", {"netns": ".."}, "not a valid name"),
        ("endpoint", "spec", {"interface": "e" * 16}, "1 to 15"),
        ("endpoint", "spec", {"interface": ""}, "1 to 15"),
        ("endpoint", "spec", {"interface": "lo"}, "kernel"),
        ("endpoint", "spec", {"interface": "eth0:1"}, "kernel"),
        ("endpoint", "spec", {"interface": "eth%d"}, "kernel"),
        ("endpoint", "spec", {"host": "H"}, "not a valid name"),
    ],
)
def test_each_mistake_is_named(kind, part, fields, message):
    found = rules.check(changed(kind, part, **fields))
    assert any(message in str(problem) for problem in found), found
    assert all(problem.object and problem.remedy for problem in found)


def test_all_mistakes_of_one_resource_are_found():
    bad = changed("network", "spec", cidrs=["10.0.0.0/31"], switches=0, vpc="", gateways=["x"])
    fields = [problem.field for problem in rules.check(bad)]
    assert fields == ["spec.switches", "spec.vpc", "spec.cidrs[0]", "spec.gateways[0]"]
