"""The difference between desired and present, over tables in memory that keep a diary."""

import errno
import itertools

import pytest

from mizar.agent import mirror, plumbing, sync
from mizar.bpf import errors
from mizar.datapath import tables
from mizar.plan import entries


class MemoryTable:
    """A map in memory: what it holds, what was done, and when it is full."""

    def __init__(self, name, diary):
        self.name, self.diary, self.rows, self.room = name, diary, {}, 1000

    def items(self):
        return list(self.rows.items())

    def update(self, key, value):
        if key not in self.rows and len(self.rows) >= self.room:
            raise errors.BpfError(errno.E2BIG, f"map {self.name}")
        self.rows[key] = value
        self.diary.append(("put", self.name))

    def delete(self, key):
        self.diary.append(("delete", self.name))
        return self.rows.pop(key, None) is not None

    def update_batch(self, keys, values):
        for key, value in zip(keys, values, strict=True):
            self.update(key, value)

    def delete_batch(self, keys):
        return sum(self.delete(key) for key in keys)


class MemoryEndpoints:
    """Interfaces in memory; an endpoint named in ``broken`` can't be plumbed."""

    def __init__(self, diary):
        self.diary, self.there, self.broken, self.swept = diary, {}, set(), None
        self.numbers = itertools.count(100)

    def existing(self):
        return set(self.there)

    def ensure(self, entry):
        if entry.name in self.broken:
            raise plumbing.PlumbingError("no room")
        self.diary.append(("plumb", entry.name))
        name = plumbing.interface_name(entry.uid)
        return self.there.setdefault(name, next(self.numbers))

    def remove(self, names):
        for name in names:
            self.diary.append(("unplumb", name))
            self.there.pop(name, None)

    def sweep_namespaces(self, used):
        self.swept = set(used)

    def namespace_of(self, entry):
        return entry.name


class World:
    def __init__(self):
        self.diary = []
        self.now = 0.0
        self.maps = {name: MemoryTable(name, self.diary) for name in tables.MAPS}
        self.endpoints = MemoryEndpoints(self.diary)
        self.restart()

    def restart(self):
        self.mirror = mirror.Mirror(self.maps)
        self.sync = sync.Sync(self.mirror, self.endpoints, lambda: self.now)
        self.diary.clear()

    def rows(self, name):
        return self.maps[name].rows


@pytest.fixture
def world():
    return World()


def endpoint(number, **other):
    fields = {
        "uid": f"u{number}", "tenant": "blue", "name": f"e{number}", "vni": 7,
        "addresses": [f"10.0.0.{number}"], "prefixes": ["10.0.0.0/24"], "gateways": ["10.0.0.1"],
        "mac": f"02:00:00:00:00:{number:02x}", "netns": "", "interface": "eth0", "identity": 1,
        "generation": 1,
    }  # fmt: skip
    return entries.EndpointEntry(**{**fields, **other})


def place(number):
    return entries.SwitchEndpointEntry(7, f"10.0.0.{number}", "192.0.2.1", 1, 1)


SWITCH = entries.SwitchNetworkEntry(7, "10.0.0.0/24", 1)
ROUTE = entries.RouteEntry(7, "::/0", "router", 0, ["192.0.2.1"])
SNAPSHOT = [SWITCH, ROUTE, *map(place, range(2, 8)), endpoint(2), endpoint(3)]


def test_tables_come_before_endpoints_and_ports_come_last(world):
    world.sync.replace([endpoint(2), ROUTE, place(2), SWITCH])
    assert world.diary == [
        ("put", "switch_networks"), ("put", "switch_endpoints"), ("put", "routes"),
        ("plumb", "e2"), ("put", "local"), ("put", "ports"),
    ]  # fmt: skip


def test_a_deleted_endpoint_is_cut_off_before_its_interface_goes(world):
    world.sync.replace(SNAPSHOT)
    world.diary.clear()
    world.sync.apply([], [entries.key_of(endpoint(2)), entries.key_of(place(2))])
    assert world.diary == [
        ("delete", "ports"), ("delete", "local"), ("delete", "switch_endpoints"),
        ("unplumb", plumbing.interface_name("u2")),
    ]  # fmt: skip
    assert world.endpoints.swept == {"e3"}


def moved(number):
    return entries.MovedEntry(7, f"10.0.0.{number}", "192.0.2.2", 1, 2)


def test_where_an_endpoint_moved_to_is_known_before_its_rows_go(world):
    world.sync.replace([endpoint(2)])
    world.diary.clear()
    world.sync.apply([moved(2)], [entries.key_of(endpoint(2))])
    assert world.diary[:3] == [("put", "moved"), ("delete", "ports"), ("delete", "local")]
    assert list(world.rows("moved")) == [(7, tables.address_bytes("10.0.0.2"))]


def test_an_endpoint_that_comes_back_is_here_before_it_is_nowhere_else(world):
    world.sync.replace([moved(2)])
    world.diary.clear()
    world.sync.apply([endpoint(2)], [entries.key_of(moved(2))])
    assert world.diary == [("plumb", "e2"), ("put", "local"), ("put", "ports"), ("delete", "moved")]


def test_a_secondary_address_comes_and_goes_without_touching_the_rest(world):
    world.sync.replace([endpoint(2)])
    world.diary.clear()
    world.sync.apply([endpoint(2, secondary=["10.0.0.9"])], [])
    assert world.diary == [("plumb", "e2"), ("put", "local")]
    world.sync.apply([endpoint(2)], [])
    assert list(world.rows("local")) == [(7, tables.address_bytes("10.0.0.2"))]


def test_a_deletion_comes_before_the_additions_of_the_same_change(world):
    world.sync.replace([endpoint(2)])
    world.diary.clear()
    world.sync.apply([endpoint(3)], [entries.key_of(endpoint(2))])
    assert world.diary[:3] == [("delete", "ports"), ("delete", "local"), ("plumb", "e3")]


def test_the_same_snapshot_again_writes_nothing(world):
    world.sync.replace(SNAPSHOT)
    written = world.mirror.writes
    world.sync.replace(SNAPSHOT)
    assert world.mirror.writes == written == 6 + 1 + 1 + 4


def test_a_restarted_agent_writes_nothing_either(world):
    world.sync.replace(SNAPSHOT)
    world.restart()
    world.sync.replace(SNAPSHOT)
    assert world.mirror.writes == 0
    assert [what for what, _ in world.diary] == ["plumb", "plumb"]


def test_a_changed_entry_is_one_write(world):
    world.sync.replace(SNAPSHOT)
    written = world.mirror.writes
    moved = entries.SwitchEndpointEntry(7, "10.0.0.2", "192.0.2.2", 1, 2)
    world.sync.apply([moved], [])
    assert world.mirror.writes == written + 1


def test_nothing_is_removed_before_a_snapshot_says_so(world):
    world.sync.replace(SNAPSHOT)
    world.restart()
    world.sync.apply([place(9)], [])
    assert len(world.rows("switch_endpoints")) == 7
    world.sync.replace([SWITCH, endpoint(3)])
    assert not world.rows("switch_endpoints")
    assert not world.rows("routes")
    assert len(world.rows("ports")) == len(world.rows("local")) == 1
    assert world.endpoints.existing() == {plumbing.interface_name("u3")}


def test_a_new_address_replaces_the_old_row(world):
    world.sync.replace([endpoint(2)])
    world.sync.apply([endpoint(2, addresses=["10.0.0.77"])], [])
    assert list(world.rows("local")) == [(7, tables.address_bytes("10.0.0.77"))]
    assert len(world.rows("ports")) == 1


def test_an_address_that_changes_hands_in_one_change_stays_reachable(world):
    world.sync.replace([endpoint(2)])
    heir = endpoint(3, addresses=["10.0.0.2"])
    world.sync.apply([heir], [entries.key_of(endpoint(2))])
    [row] = world.rows("local").values()
    assert row[0] == world.endpoints.there[plumbing.interface_name("u3")]
    assert len(world.rows("ports")) == 1


def test_a_failing_endpoint_is_named_retried_and_holds_nobody_up(world):
    world.endpoints.broken = {"e2"}
    world.sync.replace([endpoint(2), endpoint(3)])
    [failure] = world.sync.failures
    assert failure.key == ("endpoints", "u2", "")
    assert failure.message == "endpoint blue/e2: no room"
    assert len(world.rows("ports")) == 1

    due = world.sync.next_retry
    world.now = due
    world.sync.retry()
    assert world.sync.next_retry - due == pytest.approx(2 * sync.RETRY_FIRST_S)

    world.endpoints.broken = set()
    world.sync.retry()
    assert world.sync.failures, "not due yet"
    world.now = world.sync.next_retry
    world.sync.retry()
    assert not world.sync.failures
    assert world.sync.next_retry is None
    assert len(world.rows("ports")) == 2


def test_an_endpoint_that_fails_to_change_keeps_what_it_still_has(world):
    world.sync.replace([endpoint(2)])
    world.endpoints.broken = {"e2"}
    world.sync.apply([endpoint(2, generation=2)], [])
    assert len(world.rows("ports")) == len(world.rows("local")) == 1
    world.sync.apply([endpoint(2, addresses=["10.0.0.77"])], [])
    assert not world.rows("local"), "nothing reaches the address that was taken away"
    world.endpoints.broken = set()
    world.now = world.sync.next_retry
    world.sync.retry()
    assert list(world.rows("local")) == [(7, tables.address_bytes("10.0.0.77"))]


def test_an_endpoint_that_fails_after_a_restart_keeps_its_rows(world):
    world.sync.replace([endpoint(2)])
    world.restart()
    world.endpoints.broken = {"e2"}
    world.sync.replace([endpoint(2)])
    assert len(world.rows("ports")) == len(world.rows("local")) == 1


def test_a_full_map_names_the_entry_and_takes_the_rest(world):
    world.maps["switch_endpoints"].room = 5
    world.sync.replace([place(number) for number in range(2, 9)])
    assert len(world.rows("switch_endpoints")) == 5
    assert len(world.sync.failures) == 2
    assert "map switch_endpoints" in world.sync.failures[0].message


def test_a_vanished_interface_is_made_anew(world):
    world.sync.replace([endpoint(2), endpoint(3)])
    name = plumbing.interface_name("u2")
    del world.endpoints.there[name]
    world.sync.heal(name)
    assert sorted(world.rows("ports")) == sorted(world.endpoints.there.values()) == [101, 102]
