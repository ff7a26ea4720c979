/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Learned locations: the direct path. Written by data packets and by HINTs. */
#ifndef MIZAR_LOCATION_H
#define MIZAR_LOCATION_H

#include "address.h"
#include "exit.h"
#include "maps.h"

static __always_inline bool location_is_fresh(const struct location *location, __u64 now)
{
	return now - location->confirmed_ns < LOCATION_FRESH_NS;
}

/* The host to send to directly; NULL: not known, or not confirmed lately. */
static __always_inline struct address *location_host(const struct endpoint_key *endpoint,
						     __u64 now)
{
	struct location *location = bpf_map_lookup_elem(&locations, endpoint);

	return location && location_is_fresh(location, now) ? ADDRESS(location->host) : 0;
}

/* A packet of `sender` arrived from `origin`: creates or confirms, and overrides
 * nothing that is fresh. The generation stays: what a HINT said isn't forgotten. */
static __always_inline void location_learn(const struct endpoint_key *sender,
					   const struct address *origin, __u32 identity,
					   __u64 now)
{
	struct location *known = bpf_map_lookup_elem(&locations, sender);
	struct location learned = {.confirmed_ns = now, .identity = identity};

	if (known && address_equal(ADDRESS(known->host), origin)) {
		if (now - known->confirmed_ns >= LOCATION_STAMP_NS)
			known->confirmed_ns = now;
		return;
	}
	if (known && location_is_fresh(known, now))
		return;
	if (bpf_map_lookup_elem(&local, sender))
		return;
	*ADDRESS(learned.host) = *origin;
	learned.generation = known ? known->generation : 0;
	bpf_map_update_elem(&locations, sender, &learned, BPF_ANY);
}

/* A HINT about an endpoint of VPC `vni`; `hint` is in the packet, and checked to be. */
static __always_inline int location_hint(__u32 vni, const struct hint_option *hint, __u64 now)
{
	struct endpoint_key endpoint = {.vni = vni};
	struct location hinted = {
		.confirmed_ns = now,
		.generation = bpf_ntohl(hint->generation),
		.identity = bpf_ntohl(hint->identity),
	};
	struct location *known;

	*ADDRESS(endpoint.address) = *ADDRESS(hint->endpoint);
	*ADDRESS(hinted.host) = *ADDRESS(hint->host);
	known = bpf_map_lookup_elem(&locations, &endpoint);
	if (known && known->generation > hinted.generation)
		return REASON_HINT_STALE;
	if (bpf_map_lookup_elem(&local, &endpoint))
		return REASON_HINT_STALE;
	if (hint->flags & bpf_htonl(HINT_GONE))
		bpf_map_delete_elem(&locations, &endpoint);
	else
		bpf_map_update_elem(&locations, &endpoint, &hinted, BPF_ANY);
	return REASON_HINT_TAKEN;
}

#endif
