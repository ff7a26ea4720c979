/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Learned locations: the direct path. Written by data packets and by HINTs. */
#ifndef MIZAR_LOCATION_H
#define MIZAR_LOCATION_H

#include "address.h"
#include "exit.h"
#include "maps.h"

/* Signed: another CPU may have stamped it after `now`. */
static __always_inline __s64 location_age(const struct location *location, __u64 now)
{
	return now - location->confirmed_ns;
}

/* A row without a host notes only when somebody asked. */
static __always_inline bool location_has_host(const struct location *location)
{
	return !address_is_zero(ADDRESS(location->host));
}

/* A packet of `sender` arrived from `origin`: creates or confirms, and overrides nothing
 * that is fresh, but casts doubt on it: the next packet there asks. What a HINT said of
 * generations isn't forgotten. */
static __always_inline void location_learn(const struct endpoint_key *sender,
					   const struct address *origin, __u32 identity,
					   __u64 now)
{
	struct location *known = bpf_map_lookup_elem(&locations, sender);
	struct location learned = {.confirmed_ns = now, .identity = identity};

	if (known && address_equal(ADDRESS(known->host), origin)) {
		if (location_age(known, now) >= (__s64)LOCATION_STAMP_NS)
			known->confirmed_ns = now;
		return;
	}
	if (known && location_has_host(known) &&
	    location_age(known, now) < (__s64)LOCATION_FRESH_NS) {
		if (location_age(known, now) < (__s64)LOCATION_ASK_NS)
			known->confirmed_ns = now - LOCATION_ASK_NS;
		return;
	}
	if (bpf_map_lookup_elem(&local, sender))
		return;
	*ADDRESS(learned.host) = *origin;
	learned.generation = known ? known->generation : 0;
	learned.asked_ns = known ? known->asked_ns : 0;
	bpf_map_update_elem(&locations, sender, &learned, BPF_ANY);
}

/* It is no longer at the HINT's host. By host, not by generation: the host that it left
 * doesn't know how often it has moved since. */
static __always_inline int location_gone(const struct endpoint_key *endpoint,
					 const struct hint_option *hint,
					 const struct location *known)
{
	if (!known || !address_equal(ADDRESS(known->host), ADDRESS(hint->host)))
		return REASON_HINT_STALE;
	bpf_map_delete_elem(&locations, endpoint);
	return REASON_HINT_TAKEN;
}

/* A HINT about an endpoint of VPC `vni`; `hint` is in the packet, and checked to be. That it is
 * at this host, without being in `local`, is old news: no way leads from a host to itself. */
static __always_inline int location_hint(const struct host_config *config, __u32 vni,
					 const struct hint_option *hint, __u64 now)
{
	struct endpoint_key endpoint = {.vni = vni};
	struct location hinted = {
		.confirmed_ns = now,
		.generation = bpf_ntohl(hint->generation),
		.identity = bpf_ntohl(hint->identity),
	};
	struct location *known;

	*ADDRESS(endpoint.address) = *ADDRESS(hint->endpoint);
	known = bpf_map_lookup_elem(&locations, &endpoint);
	if (hint->flags & bpf_htonl(HINT_GONE))
		return location_gone(&endpoint, hint, known);
	if (known && known->generation > hinted.generation)
		return REASON_HINT_STALE;
	if (address_equal(ADDRESS(hint->host), ADDRESS(config->host)) ||
	    bpf_map_lookup_elem(&local, &endpoint))
		return REASON_HINT_STALE;
	*ADDRESS(hinted.host) = *ADDRESS(hint->host);
	hinted.asked_ns = known ? known->asked_ns : 0;
	bpf_map_update_elem(&locations, &endpoint, &hinted, BPF_ANY);
	return REASON_HINT_TAKEN;
}

#endif
