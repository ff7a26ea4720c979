/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* From XDP, which strips the tunnel, through GRO to tcx, which delivers: both ends of it. */
#ifndef MIZAR_HANDOVER_H
#define MIZAR_HANDOVER_H

#include "deliver.h"
#include "ecn.h"
#include "tunnel.h"

/* The metadata is equal for all packets of a flow, or GRO would join nothing. The
 * inner MAC is the endpoint's: no host stack takes such a frame for its own. */
static __always_inline int strip(struct xdp_md *xdp, const struct host_config *config,
				 const struct frame *frame, struct tunnel *t,
				 const struct local_endpoint *to)
{
	struct address origin = origin_of(frame, t);
	struct handover *metadata;
	int left;

	if (config->delivery_attached != 1)
		return REASON_LEFT_TO_TCX;
	left = ecn_combine(inner_ip_of(t), t->outer->tos);
	if (left != GO_ON)
		return left;
	mac_copy(t->inner->h_dest, to->mac);
	mac_copy(t->inner->h_source, config->router_mac);
	if (bpf_xdp_adjust_head(xdp, t->bytes) ||
	    bpf_xdp_adjust_meta(xdp, -(int)sizeof(*metadata)))
		return REASON_DECAPSULATION_FAILED;
	metadata = (void *)(long)xdp->data_meta;
	if ((void *)(metadata + 1) > (void *)(long)xdp->data)
		return REASON_DECAPSULATION_FAILED;
	metadata->magic = HANDOVER_MAGIC;
	metadata->vni = t->vni;
	*ADDRESS(metadata->origin) = origin;
	metadata->identity = t->options.identity;
	metadata->trace = t->options.trace;
	return REASON_STRIPPED;
}

/* What XDP has stripped, told by its metadata; 0: this packet isn't such a one. */
static __always_inline struct handover *handover_of(struct __sk_buff *skb)
{
	struct handover *handover = (void *)(long)skb->data_meta;

	if ((void *)(handover + 1) > (void *)(long)skb->data)
		return 0;
	return handover->magic == HANDOVER_MAGIC ? handover : 0;
}

/* Such a frame is a tenant's: taken for one of the underlay's, it could hold a tunnel
 * of its own making. Nothing on the underlay has the virtual router's MAC. */
static __always_inline bool was_stripped(const struct __sk_buff *skb,
					 const struct host_config *config)
{
	struct frame frame = frame_of_skb(skb);
	struct ethhdr *ethernet = frame.data;

	return (void *)(ethernet + 1) <= frame.end &&
	       mac_equal(ethernet->h_source, config->router_mac);
}

static __always_inline int addresses_read(struct __sk_buff *skb, struct tunnel *t,
					  struct passage *passage)
{
	struct frame frame = frame_of_skb(skb);
	struct iphdr *ip = frame.data + sizeof(struct ethhdr);
	struct ipv6hdr *ip6 = (void *)ip;

	if ((void *)(ip + 1) > frame.end)
		return REASON_TRUNCATED;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		address_from_ipv4(&passage->source, ip->saddr);
		address_from_ipv4(ADDRESS(t->destination.address), ip->daddr);
		return GO_ON;
	}
	if ((void *)(ip6 + 1) > frame.end)
		return REASON_TRUNCATED;
	passage->source = *ADDRESS(&ip6->saddr);
	*ADDRESS(t->destination.address) = *ADDRESS(&ip6->daddr);
	return GO_ON;
}

static __noinline int deliver_stripped(struct __sk_buff *skb, const struct host_config *config,
				       const struct handover *handover, struct tunnel *t,
				       struct passage *passage)
{
	struct arrival arrival = {
		.source.vni = handover->vni,
		.origin = *ADDRESS(handover->origin),
		.identity = handover->identity,
	};
	struct local_endpoint *to;
	int left;

	t->vni = handover->vni;
	t->destination.vni = handover->vni;
	t->options.trace = handover->trace;
	pull(skb, INNER_HEADERS);
	left = addresses_read(skb, t, passage);
	if (left != GO_ON)
		return left;
	*ADDRESS(arrival.source.address) = passage->source;
	arrival.destination = t->destination;
	to = bpf_map_lookup_elem(&local, &t->destination);
	return to ? deliver(skb, config, &arrival, to) : REASON_NOT_HERE;
}

#endif
