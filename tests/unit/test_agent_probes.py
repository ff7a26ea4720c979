"""Which holders are asked, who counts as silent and when, and the datagrams on a real socket."""

import errno
import socket
import subprocess

import pytest
from scapy.contrib import geneve

from mizar.agent import mirror, probes
from mizar.bpf import errors, objects
from mizar.datapath import tables
from mizar.plan import entries

ALIVE, OTHER, DEAD = (tables.address_bytes(f"127.0.0.{n}") for n in (2, 3, 9))
OWN = "127.0.0.1"
START_S = 1000.0


class Rows(dict):
    """Map silent_holders in memory."""

    room = 1024

    def update(self, key, value):
        if key not in self and len(self) >= self.room:
            raise errors.BpfError(errno.E2BIG, "map silent_holders is full")
        self[key] = value

    def delete(self, key):
        return self.pop(key, None) is not None


class Clock:
    def __init__(self):
        self.now = START_S

    def __call__(self):
        return self.now


class Holder:
    """Answers as a holder's kernel does, on loopback."""

    def __init__(self, address, complete=True):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((tables.address_text(address), probes.GENEVE_PORT))
        self.complete = complete
        self.asked = []

    def answer(self, change=lambda datagram: datagram):
        while True:
            try:
                datagram, source = self.socket.recvfrom(100)
            except BlockingIOError:
                return
            self.asked.append(datagram)
            self.asker = source
            echo = bytearray(datagram)
            echo[10], echo[23] = 9, int(self.complete)
            self.socket.sendto(change(bytes(echo)), source)


class Scene:
    """An agent's probes, two holders that live and one that doesn't; time moves by hand."""

    def __init__(self, left=()):
        self.clock = Clock()
        self.rows = Rows({(address,): int(until_s * 1e9) for address, until_s in left})
        self.wire = probes.Wire(objects.shipped("uplink").types, OWN)
        self.probes = probes.Probes(self.wire, self.rows, self.clock)
        self.holders = [Holder(ALIVE), Holder(OTHER)]
        self.probes.use([ALIVE, OTHER, DEAD, tables.address_bytes(OWN)])

    def pass_rounds(self, count, answer=True):
        for _ in range(count):
            self.probes.round()
            for holder in self.holders if answer else ():
                holder.answer()
            self.probes.read()
            self.clock.now += probes.PROBE_INTERVAL_S

    def silent(self):
        now_ns = self.clock.now * 1e9
        return {address for (address,), until_ns in self.rows.items() if until_ns >= now_ns}

    def close(self):
        self.wire.close()
        for holder in self.holders:
            holder.socket.close()


@pytest.fixture
def loopback(wire):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@pytest.fixture
def scene(loopback):
    scene = Scene()
    yield scene
    scene.close()


def test_a_probe_is_a_geneve_control_message(scene):
    scene.pass_rounds(2)
    asked = scene.holders[0].asked
    header = geneve.GENEVE(asked[0])
    assert (header.version, header.oam, header.critical) == (0, 1, 0)
    assert (header.vni, header.proto) == (0, 0x6558)
    [option] = header.options
    types = objects.shipped("uplink").types
    assert (option.classid, option.type) == (
        0xFF4D,
        types.enum("geneve_option_type")["OPTION_PROBE"],
    )
    first = types.struct("probe_option").unpack(option.data)
    assert (first.flags, first.reserved) == (0, 0)
    assert asked[0] != asked[1]


def test_who_says_nothing_for_long_enough_is_avoided_and_nobody_else(scene):
    scene.pass_rounds(3)
    assert scene.silent() == set()
    scene.pass_rounds(1)
    assert scene.silent() == {DEAD}
    scene.pass_rounds(20)
    assert scene.silent() == {DEAD}


def test_an_answer_ends_the_silence_at_once(scene):
    scene.pass_rounds(10)
    scene.holders.append(Holder(DEAD))
    scene.pass_rounds(1)
    scene.probes.round()
    assert scene.rows == {}


def test_a_holder_without_its_whole_tables_is_avoided(scene):
    scene.holders[0].complete = False
    scene.pass_rounds(2)
    assert scene.silent() == {ALIVE}
    scene.holders[0].complete = True
    scene.pass_rounds(1)
    scene.probes.round()
    assert ALIVE not in scene.silent()


def test_without_an_agent_all_count_as_alive_again(scene):
    scene.pass_rounds(10)
    assert scene.silent() == {DEAD}
    scene.clock.now += probes.SILENT_LIFETIME_S
    assert scene.silent() == set()


def test_an_agent_that_stood_still_accuses_nobody(scene):
    scene.pass_rounds(10)
    scene.clock.now += 30.0
    scene.probes.round()
    assert scene.silent() == {DEAD}
    scene.pass_rounds(10)
    assert scene.silent() == {DEAD}


def test_answers_that_waited_for_a_late_agent_are_read_before_it_judges(scene):
    scene.pass_rounds(3)
    scene.probes.round()
    for holder in scene.holders:
        holder.answer()
    scene.clock.now += 0.39
    scene.pass_rounds(1, answer=False)
    scene.clock.now += 0.39
    scene.probes.round()
    assert scene.silent() == {DEAD}


@pytest.mark.parametrize(
    "change",
    [
        lambda echo: echo[:12] + bytes(8) + echo[20:],
        lambda echo: echo[:10] + b"\x08" + echo[11:],
        lambda echo: echo[:-1],
        lambda echo: echo + b"\0",
        lambda echo: b"",
    ],
    ids=["another nonce", "a PROBE", "shorter", "longer", "empty"],
)
def test_what_is_no_answer_counts_as_none(scene, change):
    for _ in range(8):
        scene.probes.round()
        scene.holders[0].answer(change)
        scene.holders[1].answer()
        scene.clock.now += probes.PROBE_INTERVAL_S
    assert scene.silent() == {ALIVE, DEAD}


def test_an_answer_that_is_too_old_counts_as_none(scene):
    kept = []
    scene.probes.round()
    scene.holders[0].answer(lambda echo: kept.append(echo) or b"")
    scene.pass_rounds(6, answer=False)
    assert ALIVE in scene.silent()
    scene.holders[0].socket.sendto(kept[0], scene.holders[0].asker)
    scene.probes.round()
    assert ALIVE in scene.silent()


def test_a_holder_that_is_used_no_more_is_not_asked_and_its_row_goes(scene):
    scene.pass_rounds(10)
    scene.probes.use([ALIVE])
    scene.holders[1].asked.clear()
    scene.pass_rounds(3)
    assert scene.rows == {}
    assert scene.holders[1].asked == []


def test_the_host_itself_is_not_asked(scene):
    own = Holder(tables.address_bytes(OWN))
    scene.holders.append(own)
    scene.pass_rounds(5)
    assert own.asked == []


def test_an_agent_goes_on_where_another_ended(loopback):
    scene = Scene(left=[(DEAD, START_S + 1.0), (ALIVE, START_S - 0.1)])
    scene.probes.round()
    assert scene.silent() == {DEAD}
    assert (ALIVE,) not in scene.rows
    scene.close()


def test_a_full_map_is_told_and_holds_back_nothing(scene):
    scene.rows.room = 0
    scene.pass_rounds(10)
    scene.rows.room = 1
    scene.pass_rounds(1)
    assert scene.silent() == {DEAD}


@pytest.mark.parametrize("pace", [1.0, 1.5], ids=["in time", "late"])
def test_over_the_budget_holders_take_turns(pace):
    watch = probes.Watch()
    holders = [number.to_bytes(16) for number in range(1, 501)]
    watch.use(holders, START_S)
    asked = []
    for number in range(15):
        turn = watch.due(START_S + number * pace * probes.PROBE_INTERVAL_S)
        assert len(turn) <= probes.PROBES_PER_S_MAX * probes.PROBE_INTERVAL_S
        asked += turn
    assert {asked.count(holder) for holder in holders} <= {5, 6}


def test_over_the_budget_holders_have_more_time_to_answer():
    watch = probes.Watch()
    holders = [number.to_bytes(16) for number in range(1, 501)]
    watch.use(holders, START_S)
    for number in range(8):
        watch.judge(START_S + number * probes.PROBE_INTERVAL_S)
    assert watch.silent == set()
    watch.judge(START_S + 8 * probes.PROBE_INTERVAL_S)
    assert watch.silent == set(holders)


def test_the_holders_are_those_that_the_tables_send_to():
    entry = entries.RouteEntry(7, "::/0", "router", 0, ["192.0.2.1", "192.0.2.2"])
    through = entries.RouterNetworkEntry(7, "10.0.0.0/24", 1, ["192.0.2.2", "192.0.2.3"])
    memory = mirror.Mirror({name: Rows() for name in tables.MAPS})
    assert memory.holders() == frozenset()
    memory.put([*tables.rows(entry), *tables.rows(through)])
    expected = {tables.address_bytes(f"192.0.2.{number}") for number in (1, 2, 3)}
    assert memory.holders() == expected
    memory.delete({(row.map, row.key) for row in tables.rows(through)})
    assert memory.holders() == expected - {tables.address_bytes("192.0.2.3")}
