"""Holders move little and prefer the living; endpoints go where there are fewest."""

from collections import Counter

from fleet import key

from mizar.model import placement

HOSTS = [f"h{n}" for n in range(20)]


def holders(name, current=(), wanted=2, hosts=HOSTS, live=()):
    return placement.holders(key("Network", name), current, wanted, hosts, live)


def test_tables_spread_over_the_hosts():
    counts = Counter(host for n in range(1000) for host in holders(f"n{n}"))
    assert len(counts) == len(HOSTS)
    assert max(counts.values()) < 2 * min(counts.values())


def test_a_host_that_goes_moves_only_its_own_tables():
    for n in range(100):
        before = holders(f"n{n}")
        after = holders(f"n{n}", before, hosts=HOSTS[1:])
        assert set(before) - {"h0"} <= set(after)
        assert len(after) == 2


def test_present_holders_stay_when_hosts_come():
    assert holders("a", ["h3", "h7"]) == ["h3", "h7"]
    assert set(holders("a", ["h3", "h7"], wanted=3)) > {"h3", "h7"}
    assert set(holders("a", ["h3", "h7"], wanted=1)) < {"h3", "h7"}


def test_live_hosts_come_first_and_too_few_are_all():
    assert holders("a", live={"h4", "h5"}) == ["h4", "h5"]
    assert holders("a", wanted=8, hosts=["h1", "h2"]) == ["h1", "h2"]
    assert holders("a", hosts=[]) == []


def test_spread_finds_the_least_loaded_live_host():
    spread = placement.Spread()
    assert spread.least({}) is None
    for host, count in (("a", 3), ("b", 1), ("c", 2)):
        spread.join(host)
        spread.add(host, count)
    assert spread.least({"a", "b", "c"}) == "b"
    assert spread.least({"a", "c"}) == "c"
    assert spread.least({}) == "b"
    spread.add("b", 5)
    spread.leave("c")
    assert spread.least({"a", "b"}) == "a"
