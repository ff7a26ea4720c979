"""Random requests over a small world, so that names, ranges and places clash often."""

from __future__ import annotations

from fleet import endpoint, host, key, network, tenant, vpc
from hypothesis import strategies as st

from mizar.model import admission

TENANTS = st.sampled_from(["acme", "beta"])
VPCS = st.sampled_from(["v1", "v2"])
NETWORKS = st.sampled_from(["n1", "n2", "n3"])
ENDPOINTS = st.sampled_from([f"e{n}" for n in range(6)])
NUMBERS = st.integers(1, 4)
CIDRS = st.sampled_from(["10.0.0.0/29", "10.0.0.8/30", "10.0.1.0/29"])
HOSTS = st.sampled_from(["", "", "h1", "h2", "h3"])

hosts = st.builds(host, NUMBERS, st.booleans())
tenants = st.builds(tenant, TENANTS)
vpcs = st.builds(vpc, VPCS, st.just("10.0.0.0/16"), tenant=TENANTS, routers=st.integers(1, 3))
networks = st.builds(network, NETWORKS, VPCS, CIDRS, TENANTS, st.integers(1, 3))
endpoints = st.builds(
    endpoint,
    ENDPOINTS,
    NETWORKS,
    TENANTS,
    st.sampled_from(["", "", "", "10.0.0.2", "10.0.0.3", "10.0.1.2"]),
    host=HOSTS,
)
keys = st.one_of(
    st.builds(lambda n: key("Host", f"h{n}"), NUMBERS),
    st.builds(lambda t: key("Tenant", t), TENANTS),
    st.builds(lambda n, t: key("VPC", n, t), VPCS, TENANTS),
    st.builds(lambda n, t: key("Network", n, t), NETWORKS, TENANTS),
    *[st.builds(lambda n, t: key("Endpoint", n, t), ENDPOINTS, TENANTS)] * 3,
)
applies = st.builds(
    admission.Request,
    st.just("apply"),
    st.one_of(hosts, tenants, vpcs, networks, endpoints, endpoints, endpoints),
)
deletes = st.builds(lambda k: admission.Request("delete", key=k), keys)
batches = st.lists(st.one_of(applies, applies, deletes), min_size=1, max_size=6).map(
    lambda requests: [*{request.target: request for request in requests}.values()]
)
steps = st.lists(st.tuples(batches, st.sampled_from([0.0, 0.3, 4.0, 20.0])), max_size=25)
BEGINNING = [
    admission.Request("apply", each)
    for each in (
        *(host(n) for n in (1, 2, 3)),
        *(tenant(t) for t in ("acme", "beta")),
        *(vpc(v, "10.0.0.0/16", tenant=t) for v in ("v1", "v2") for t in ("acme", "beta")),
        *(network("n1", "v1", "10.0.0.0/29", tenant=t) for t in ("acme", "beta")),
        network("n2", "v1", "10.0.1.0/29"),
        *(endpoint(f"e{n}", f"n{n % 2 + 1}", host="h3") for n in range(3)),
    )
]
