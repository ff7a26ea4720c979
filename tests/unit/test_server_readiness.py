"""When a resource is Ready, as bookkeeping: no clock, no network."""

from mizar.model import resources
from mizar.server import readiness

NETWORK = resources.Key("Network", "acme", "web")
ENDPOINT = resources.Key("Endpoint", "acme", "a")
HOMES = {ENDPOINT: "h1"}


def fleet(*names, sent=5):
    book = readiness.Readiness(lambda key: HOMES.get(key, ""))
    for name in names:
        book.add_host(name, sent)
        book.connected(name, sent)
    return book


def change(book, revision, key, hosts, requires=()):
    for host in hosts:
        book.sent(host, revision)
    book.track(key, hosts, requires)


def test_the_last_of_the_hosts_decides():
    book = fleet("h1", "h2")
    change(book, 6, NETWORK, ["h1", "h2"])
    book.acked("h1", 6, {})
    assert book.verdict(NETWORK) == ("Pending", "waiting for host h2")
    assert NETWORK not in book.dirty
    book.acked("h2", 6, {})
    assert book.verdict(NETWORK) == ("Ready", "")
    assert NETWORK in book.dirty


def test_an_acknowledgement_of_an_older_change_is_not_enough():
    book = fleet("h1")
    change(book, 6, NETWORK, ["h1"])
    change(book, 7, NETWORK, ["h1"])
    book.acked("h1", 6, {})
    assert book.verdict(NETWORK).phase == "Pending"
    book.acked("h1", 7, {})
    assert book.verdict(NETWORK).phase == "Ready"


def test_an_acknowledgement_of_what_was_never_sent_counts_for_nothing_later():
    book = fleet("h1")
    book.acked("h1", 1_000_000, {})
    change(book, 6, NETWORK, ["h1"])
    assert book.verdict(NETWORK).phase == "Pending"


def test_a_change_on_its_way_to_the_store_holds_the_verdict():
    book = fleet("h1")
    change(book, 6, NETWORK, ["h1"])
    book.hold(NETWORK)
    book.acked("h1", 6, {})
    assert NETWORK not in book.dirty
    assert book.verdict(NETWORK).phase == "Pending"


def test_a_verdict_found_before_a_change_is_not_written_after_it():
    book = fleet("h1")
    change(book, 6, NETWORK, ["h1"])
    book.acked("h1", 6, {})
    assert NETWORK in book.dirty
    book.hold(NETWORK)
    assert NETWORK not in book.dirty


def test_what_it_requires_comes_first():
    book = fleet("h1", "h2")
    change(book, 6, NETWORK, ["h2"])
    change(book, 7, ENDPOINT, ["h1"], [NETWORK])
    book.acked("h1", 7, {})
    assert book.verdict(ENDPOINT) == ("Pending", "waiting for Network acme/web")
    book.acked("h2", 6, {})
    assert book.verdict(ENDPOINT).phase == "Ready"


def test_the_dead_are_not_waited_for_except_at_home():
    book = fleet("h1", "h2")
    change(book, 6, NETWORK, ["h1", "h2"])
    change(book, 7, ENDPOINT, ["h1", "h2"])
    book.acked("h2", 7, {})
    book.disconnected("h1")
    book.dead("h1")
    assert book.verdict(NETWORK).phase == "Ready"
    assert book.verdict(ENDPOINT) == ("Pending", "waiting for host h1 (not connected)")
    book.connected("h1", 0)
    book.acked("h1", 7, {})
    assert book.verdict(ENDPOINT).phase == "Ready"


def test_failures_of_the_dead_are_forgotten_and_others_stay_until_taken_back():
    book = fleet("h1", "h2")
    change(book, 6, NETWORK, ["h1", "h2"])
    book.acked("h1", 6, {NETWORK: "full"})
    book.acked("h2", 6, {NETWORK: "broken"})
    assert book.verdict(NETWORK) == ("Failed", "host h1: full")
    book.dead("h1")
    assert book.verdict(NETWORK) == ("Failed", "host h2: broken")
    book.acked("h2", 6, {})
    assert book.verdict(NETWORK).phase == "Ready"


def test_nobody_to_serve_it():
    book = fleet()
    book.track(NETWORK, [], [])
    assert book.verdict(NETWORK).phase == "Pending"
    assert "mizar agent" in book.verdict(NETWORK).message
    book.track(resources.Key("Tenant", "", "acme"), [], [])
    assert book.verdict(resources.Key("Tenant", "", "acme")).phase == "Ready"


def test_a_host_removed_is_waited_for_no_more():
    book = fleet("h1", "h2")
    change(book, 6, NETWORK, ["h1", "h2"])
    book.acked("h1", 6, {})
    book.remove_host("h2")
    assert book.verdict(NETWORK).phase == "Ready"


def test_what_it_requires_may_change_while_it_waits():
    book = fleet("h1", "h2", "h3")
    change(book, 6, NETWORK, ["h2"])
    book.acked("h2", 6, {})
    change(book, 7, ENDPOINT, ["h1", "h2"], [NETWORK])
    book.acked("h1", 7, {})
    book.hold(NETWORK)
    book.dead("h2")
    assert book.verdict(ENDPOINT) == ("Pending", "waiting for Network acme/web")
    change(book, 8, NETWORK, ["h3"])
    assert book.verdict(ENDPOINT) == ("Pending", "waiting for Network acme/web")
    book.acked("h3", 8, {})
    assert book.verdict(ENDPOINT).phase == "Ready"


def test_what_is_ready_stays_so_when_what_it_requires_changes():
    book = fleet("h1", "h2")
    change(book, 6, ENDPOINT, ["h1"], [NETWORK])
    book.acked("h1", 6, {})
    change(book, 7, NETWORK, ["h2"])
    assert book.verdict(ENDPOINT).phase == "Ready"
