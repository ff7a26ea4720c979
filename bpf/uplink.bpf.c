// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/* The uplink programs: what arrives from other hosts.
 *
 * uplink_tcx alone does everything: control messages, transit, delivery. With
 * uplink_xdp in front of it, XDP bounces transit packets before the stack sees
 * them and strips the tunnel from local ones, GRO joins those, and uplink_tcx
 * delivers the joined packets.
 */
#include "control.h"
#include "deliver.h"
#include "ecn.h"
#include "packet.h"
#include "returned.h"
#include "transit.h"
#include "tunnel.h"

#define ADJ_ROOM_DECAP_L3_IPV6 (1ULL << 8) /* since Linux 6.3; not in older headers */

/* The stages that both programs begin with: through the options. */
static __always_inline int tunnel_read(const struct frame *frame, struct tunnel *t)
{
	int left = outer_check(frame, t);

	return left == GO_ON ? geneve_read(frame, t) : left;
}

/* By the first control option. GO_ON: RETURNED, which tcx alone can take. */
static __always_inline int control(void *context, bool in_xdp, const struct host_config *config,
				   struct tunnel *t, struct passage *passage)
{
	struct frame frame = in_xdp ? frame_of_xdp(context) : frame_of_skb(context);
	__u8 type = t->options.control;

	if (type == OPTION_ASK || type == OPTION_LOOKUP || type == OPTION_RETURNED) {
		int left = inner_read(&frame, t, passage, false);

		if (left != GO_ON)
			return left;
	}
	switch (type) {
	case OPTION_HINT:
		return hint_take(&frame, config, t);
	case OPTION_PROBE:
		return probe_answer(context, in_xdp, config, t, passage);
	case OPTION_ASK:
		return ask_answer(context, in_xdp, config, t, passage);
	case OPTION_LOOKUP:
		return lookup_answer(context, in_xdp, config, &frame, t, passage);
	case OPTION_RETURNED:
		return in_xdp ? REASON_LEFT_TO_TCX : GO_ON;
	default:
		return REASON_CONTROL_UNKNOWN;
	}
}

/* The sender came straight here and is wrong: it is told, in the packet's place. */
static __always_inline int gone_tell(void *context, bool in_xdp, const struct host_config *config,
				     struct tunnel *t, struct passage *passage)
{
	struct whereabouts at = gone_from(config);
	int left;

	if (packet_bytes(context, in_xdp) < HINT_FRAME_BYTES)
		return REASON_NOT_HERE;
	address_from_ipv4(&passage->next, t->outer->saddr);
	left = hint_send(context, in_xdp, config, t, passage, &at, REASON_NOT_HERE);
	passage->answered = left == REASON_NOT_HERE;
	return left;
}

/* What data has in common in both programs, once a first hop has been to the tables: to an
 * endpoint of this host, `*to`, or away, `t->next`, or why neither. */
static __always_inline int data_route(const struct host_config *config, struct tunnel *t,
				      struct local_endpoint **to)
{
	__u16 port = bpf_ntohs(udp_of(t)->source);
	bool first_hop = is_first_hop(t);
	int reason = REASON_NOT_HERE;

	if (first_hop) {
		reason = transit_next(config, &t->destination, port, &t->next);
		if (t->next)
			return reason;
	}
	*to = bpf_map_lookup_elem(&local, &t->destination);
	if (*to)
		return GO_ON;
	t->next = moved_to(&t->destination);
	if (t->next)
		return REASON_FORWARDED;
	return first_hop ? reason : transit_next(config, &t->destination, port, &t->next);
}

/* ---- XDP ---- */

static __noinline int control_xdp(struct xdp_md *xdp, const struct host_config *config,
				  struct tunnel *t, struct passage *passage)
{
	return control(xdp, true, config, t, passage);
}

static __noinline int gone_tell_xdp(struct xdp_md *xdp, const struct host_config *config,
				    struct tunnel *t, struct passage *passage)
{
	return gone_tell(xdp, true, config, t, passage);
}

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

static __always_inline int xdp_stages(struct xdp_md *xdp, struct tunnel *t,
				      struct passage *passage)
{
	struct host_config *config = configuration();
	struct frame frame = frame_of_xdp(xdp);
	struct local_endpoint *to = 0;
	int left;

	if (!config)
		return REASON_NOT_OURS;
	left = outer_read(&frame, config, t);
	if (left != GO_ON)
		return left;
	left = tunnel_read(&frame, t);
	if (left != GO_ON)
		return left;
	if (t->control)
		return control_xdp(xdp, config, t, passage);
	left = inner_read(&frame, t, passage, true);
	if (left != GO_ON)
		return left;
	left = data_route(config, t, &to);
	if (to)
		return strip(xdp, config, &frame, t, to);
	if (t->next)
		return forward(xdp, true, config, t, left);
	if (left == REASON_NOT_HERE && !came_by_transit(t))
		return gone_tell_xdp(xdp, config, t, passage);
	return left;
}

/* Transit packets, which nobody looks at, don't pay for what the exit would report. */
SEC("xdp")
int uplink_xdp(struct xdp_md *xdp)
{
	__u64 bytes = frame_of_xdp(xdp).bytes;

	struct passage passage = {};
	struct tunnel t = {};
	enum reason reason = xdp_stages(xdp, &t, &passage);

	passage.trace = t.options.trace;
	if (passage.trace || verdict_of(reason) == VERDICT_DROP)
		tunnel_tell(&t, &passage);
	return leave_xdp(xdp, &passage, reason, bytes);
}

/* ---- tcx ---- */

static __noinline int control_tcx(struct __sk_buff *skb, const struct host_config *config,
				  struct tunnel *t, struct passage *passage)
{
	return control(skb, false, config, t, passage);
}

static __noinline int gone_tell_tcx(struct __sk_buff *skb, const struct host_config *config,
				    struct tunnel *t, struct passage *passage)
{
	return gone_tell(skb, false, config, t, passage);
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

/* FIXED_GSO: segments keep their size, so a 64 KB packet stays whole. */
static __noinline int deliver_tunnelled(struct __sk_buff *skb, const struct host_config *config,
					struct tunnel *t, const struct passage *passage,
					const struct local_endpoint *to)
{
	struct frame frame = frame_of_skb(skb);
	struct arrival arrival = {
		.source.vni = t->vni,
		.destination = t->destination,
		.origin = origin_of(&frame, t),
		.identity = t->options.identity,
	};
	struct iphdr inner = *inner_ip_of(t);
	int left = ecn_combine(&inner, t->outer->tos);
	bool marked = inner.tos != inner_ip_of(t)->tos;
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO |
		      (inner.version == 6 ? ADJ_ROOM_DECAP_L3_IPV6 : 0);

	*ADDRESS(arrival.source.address) = passage->source;
	if (left != GO_ON)
		return left;
	if (bpf_skb_adjust_room(skb, -(int)t->bytes, BPF_ADJ_ROOM_MAC, flags))
		return REASON_DECAPSULATION_FAILED;
	if (marked && bpf_skb_store_bytes(skb, sizeof(struct ethhdr), &inner, sizeof(inner), 0))
		return REASON_DECAPSULATION_FAILED;
	return deliver(skb, config, &arrival, to);
}

static __noinline int forward_tcx(struct __sk_buff *skb, const struct host_config *config,
				  struct tunnel *t, enum reason reason)
{
	return forward(skb, false, config, t, reason);
}

static __always_inline int tcx_stages(struct __sk_buff *skb, struct tunnel *t,
				      struct passage *passage)
{
	struct host_config *config = configuration();
	struct handover *handover = handover_of(skb);
	struct local_endpoint *to = 0;
	struct frame frame;
	int left;

	if (!config)
		return REASON_NOT_OURS;
	if (handover && !skb->vlan_present)
		return deliver_stripped(skb, config, handover, t, passage);
	if (was_stripped(skb, config))
		return REASON_HANDOVER_LOST;
	/* On a tagged packet the addresses are some other link's. */
	if (skb->vlan_present)
		return REASON_NOT_OURS;
	pull(skb, OUTER_HEADERS);
	frame = frame_of_skb(skb);
	left = outer_read(&frame, config, t);
	if (left != GO_ON)
		return left;
	pull(skb, TUNNEL_HEADERS_MAX);
	frame = frame_of_skb(skb);
	left = outer_read(&frame, config, t);
	if (left != GO_ON)
		return left;
	left = tunnel_read(&frame, t);
	if (left != GO_ON)
		return left;
	if (t->control) {
		left = control_tcx(skb, config, t, passage);
		return left == GO_ON ? returned_tell(skb, config, t, passage) : left;
	}
	left = inner_read(&frame, t, passage, true);
	if (left != GO_ON)
		return left;
	left = data_route(config, t, &to);
	if (to)
		return deliver_tunnelled(skb, config, t, passage, to);
	if (t->next)
		return forward_tcx(skb, config, t, left);
	if (left == REASON_NOT_HERE && !came_by_transit(t) && !skb->gso_size)
		return gone_tell_tcx(skb, config, t, passage);
	return left;
}

/* Writes to packets by helper, never in place: a program that does so gets its own copy
 * of each packet that somebody else holds too (tcpdump), and a copy has no metadata. */
SEC("tc")
int uplink_tcx(struct __sk_buff *skb)
{
	__u64 bytes = skb->len;

	struct passage passage = {};
	struct tunnel t = {};
	enum reason reason = tcx_stages(skb, &t, &passage);

	passage.trace = t.options.trace;
	tunnel_tell(&t, &passage);
	return leave_tc(skb, &passage, PROGRAM_UPLINK_TCX, reason, bytes);
}

char _license[] SEC("license") = "GPL";
