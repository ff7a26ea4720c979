/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Transit switches and transit routers: the tables that say where a packet goes next. */
#ifndef MIZAR_TRANSIT_H
#define MIZAR_TRANSIT_H

#include "address.h"
#include "exit.h"
#include "hash.h"
#include "maps.h"

#define PREFIX_BITS_MAX (32 + 128)

static __always_inline struct prefix_key prefix_key_of(const struct endpoint_key *endpoint)
{
	struct prefix_key key = {.prefix_bits = PREFIX_BITS_MAX, .vni = endpoint->vni};

	*ADDRESS(key.address) = *ADDRESS(endpoint->address);
	return key;
}

static __always_inline __u32 holder_score(const struct address *holder, __u16 port)
{
	return hash_mix(port ^ hash_mix(hash_fold(holder)));
}

/* Has it left PROBEs without an answer? Copied, since to the verifier what a global function
 * is given can't be a key before Linux 6.2. */
static __always_inline bool is_silent(const struct address *holder, __u64 now)
{
	const struct address key = *holder;
	__u64 *until = bpf_map_lookup_elem(&silent_holders, &key);

	return until && *until >= now;
}

/* The index of the best; -1: there is none. */
static __always_inline int holder_best(const struct transit_set *set, __u16 port, __u64 now,
				       bool silent_too)
{
	const struct address *holders = ADDRESS(set->holders);
	int chosen = -1;
	__u32 best = 0;

	for (int i = 0; i < LIMIT_HOLDERS && i < set->count; i++) {
		__u32 score = holder_score(&holders[i], port);

		if ((chosen >= 0 && score <= best) || (!silent_too && is_silent(&holders[i], now)))
			continue;
		chosen = i;
		best = score;
	}
	return chosen;
}

/* Not static: so the verifier judges it once, and not on each path that leads here. */
__noinline int holder_index(const struct transit_set *set, __u16 port, __u64 now)
{
	int chosen = -1;

	if (!set)
		return -1;
	if (set->count > 1)
		chosen = holder_best(set, port, now, false);
	return chosen >= 0 ? chosen : holder_best(set, port, now, true);
}

/* Rendezvous hashing among those that aren't silent, or among all when all are: when a holder
 * goes or falls silent, only its own flows move. NULL: no holders. */
static __always_inline struct address *holder_choose(struct transit_set *set, __u16 port,
						     __u64 now)
{
	int index = holder_index(set, port, now);

	return index < 0 ? 0 : ADDRESS(set->holders) + (index & (LIMIT_HOLDERS - 1));
}

/* What the switches on this host have no row for: theirs without an endpoint, or a router's. */
static __noinline int transit_network(const struct host_config *config,
				      const struct endpoint_key *destination, __u16 port,
				      struct address **next)
{
	struct prefix_key prefix = prefix_key_of(destination);
	struct transit_set *network;
	struct address *holder;

	if (bpf_map_lookup_elem(&switch_networks, &prefix))
		return REASON_NO_ENDPOINT;
	network = bpf_map_lookup_elem(&router_networks, &prefix);
	if (!network)
		return REASON_NOT_HERE;
	holder = holder_choose(network, port, clock_ns(config));
	if (!holder)
		return REASON_NO_NETWORK;
	if (address_equal(holder, ADDRESS(config->host)))
		return REASON_NO_ENDPOINT;
	*next = holder;
	return REASON_ROUTED;
}

/* The switches on this host, then its routers. SWITCHED or ROUTED: `*next` is the
 * host to send to, in a table's value; else why not. `port`: outer source port. */
static __always_inline int transit_next(const struct host_config *config,
					const struct endpoint_key *destination, __u16 port,
					struct address **next)
{
	struct switch_endpoint *endpoint = bpf_map_lookup_elem(&switch_endpoints, destination);

	if (!endpoint)
		return transit_network(config, destination, port, next);
	if (address_equal(ADDRESS(endpoint->host), ADDRESS(config->host)))
		return REASON_NOT_HERE;
	*next = ADDRESS(endpoint->host);
	return REASON_SWITCHED;
}

/* Where an endpoint has moved to from this host; NULL: it hasn't, lately. */
static __always_inline struct address *moved_to(const struct endpoint_key *endpoint)
{
	struct moved *away = bpf_map_lookup_elem(&moved, endpoint);

	return away ? ADDRESS(away->host) : 0;
}

#endif
