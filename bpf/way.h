/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Where a packet goes that isn't for an endpoint of this host: by the learned location,
 * else by the transit tables; and when the question that keeps locations true is due. */
#ifndef MIZAR_WAY_H
#define MIZAR_WAY_H

#include "address.h"
#include "exit.h"
#include "location.h"
#include "maps.h"
#include "transit.h"

struct way {
	struct address *to;  /* the next host, in a table's value */
	__u32 question;      /* mark of the clone that is to become a question; 0: none */
	bool to_transit;     /* to a holder of a transit table, which must know the origin */
};

/* Is a question due, of an endpoint last asked about at `asked_ns`? */
static __always_inline bool question_due(__u64 asked_ns, __u64 now)
{
	return (__s64)(now - asked_ns) >= (__s64)ASK_INTERVAL_NS;
}

/* SENT_DIRECT, or GO_ON. */
static __always_inline int way_direct(struct location *location, __u64 now, struct way *way)
{
	__s64 age;

	if (!location || !location_has_host(location))
		return GO_ON;
	age = location_age(location, now);
	if (age >= (__s64)LOCATION_FRESH_NS)
		return GO_ON;
	way->to = ADDRESS(location->host);
	if (age >= (__s64)LOCATION_ASK_NS && question_due(location->asked_ns, now)) {
		location->asked_ns = now;
		way->question = MARK_ASK;
	}
	return REASON_SENT_DIRECT;
}

/* SENT_SWITCH, SENT_ROUTER, SWITCHED or ROUTED, or why the packet ends here. `port`: outer
 * source port. */
static __always_inline int way_by_tables(const struct host_config *config,
					 const struct endpoint_key *destination, __u16 port,
					 struct way *way)
{
	struct prefix_key prefix = prefix_key_of(destination);
	struct transit_set *set = bpf_map_lookup_elem(&routes, &prefix);
	int reason;

	way->to = set ? holder_choose(set, port, clock_ns(config)) : 0;
	if (!set || !way->to)
		return REASON_NO_ROUTE;
	way->to_transit = true;
	if (!address_equal(way->to, ADDRESS(config->host)))
		return set->kind == TRANSIT_ROUTER ? REASON_SENT_ROUTER : REASON_SENT_SWITCH;
	reason = transit_next(config, destination, port, &way->to);
	way->to_transit = reason == REASON_ROUTED;
	return reason;
}

/* SENT_ASK: to where it was last known, however long ago. */
static __always_inline int way_to_ask(const struct endpoint_key *endpoint, struct way *way)
{
	struct location *location = bpf_map_lookup_elem(&locations, endpoint);

	if (!location || !location_has_host(location))
		return REASON_NO_ROUTE;
	way->to = ADDRESS(location->host);
	return REASON_SENT_ASK;
}

/* Notes that a LOOKUP is sent; false: one was, lately. */
static __noinline bool lookup_stamp(const struct endpoint_key *destination, __u64 now)
{
	struct location *known = bpf_map_lookup_elem(&locations, destination);
	struct location unknown = {.asked_ns = now};

	if (!known)
		return !bpf_map_update_elem(&locations, destination, &unknown, BPF_NOEXIST);
	if (!question_due(known->asked_ns, now))
		return false;
	known->asked_ns = now;
	return true;
}

/* The reason to leave with; a drop's: there is no way. */
static __always_inline int way_find(const struct host_config *config,
				    const struct endpoint_key *destination, __u16 port,
				    struct way *way)
{
	struct location *location = bpf_map_lookup_elem(&locations, destination);
	__u64 now = clock_ns(config);
	int reason = way_direct(location, now, way);

	if (reason != GO_ON)
		return reason;
	reason = way_by_tables(config, destination, port, way);
	if (verdict_of(reason) == VERDICT_PASS && lookup_stamp(destination, now))
		way->question = MARK_LOOKUP;
	return reason;
}

/* A clone comes back to this program, with its mark, after this packet. Pointers into the
 * packet are void after this. Where no clone can be had the next packet asks. */
static __always_inline void question_send(struct __sk_buff *skb, __u32 mark)
{
	skb->mark = mark;
	bpf_clone_redirect(skb, skb->ifindex, BPF_F_INGRESS);
	skb->mark = 0;
}

#endif
