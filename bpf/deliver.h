/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Delivery of an inner frame to an endpoint of this host, in tc programs. */
#ifndef MIZAR_DELIVER_H
#define MIZAR_DELIVER_H

#include <linux/if_packet.h>

#include "location.h"
#include "parse.h"

/* What came with an inner packet from another host. */
struct arrival {
	struct endpoint_key source;
	struct endpoint_key destination;
	struct address origin;  /* zero: not known */
	__u32 identity;
};

/* `skb` begins with an Ethernet header, whatever is in it. Written by helper, not in
 * place: see uplink_tcx. */
static __always_inline int endpoint_receive(struct __sk_buff *skb,
					    const struct host_config *config,
					    const struct local_endpoint *to)
{
	struct ethhdr ethernet = {.h_proto = skb->protocol};
	long action;

	mac_copy(ethernet.h_dest, to->mac);
	mac_copy(ethernet.h_source, config->router_mac);
	if (bpf_skb_store_bytes(skb, 0, &ethernet, sizeof(ethernet), 0))
		return REASON_TRUNCATED;
	/* What XDP stripped was judged by the inner MAC: the stack took it for a stranger's. */
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	if (to->kind == INTERFACE_TAP)
		action = bpf_redirect(to->ifindex, 0);
	else
		action = bpf_redirect_peer(to->ifindex, 0);
	return action == TC_ACT_REDIRECT ? GO_ON : REASON_REDIRECT_FAILED;
}

/* Once per packet, after GRO has joined what it could. What is to be done to
 * an arriving packet as a whole (tracking, policy, translation) belongs here. */
static __always_inline int deliver(struct __sk_buff *skb, const struct host_config *config,
				   const struct arrival *arrival, const struct local_endpoint *to)
{
	__u64 now = clock_ns(config);
	int left;

	if (!address_is_zero(&arrival->origin) &&
	    !address_equal(&arrival->origin, ADDRESS(config->host)))
		location_learn(&arrival->source, &arrival->origin, arrival->identity, now);
	left = endpoint_receive(skb, config, to);
	return left == GO_ON ? REASON_DELIVERED : left;
}

#endif
