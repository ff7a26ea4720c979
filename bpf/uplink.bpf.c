// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/* The uplink programs: what arrives from other hosts.
 *
 * uplink_tcx alone does everything: control messages, transit, delivery. With
 * uplink_xdp in front of it, XDP bounces transit packets before the stack sees
 * them and strips the tunnel from local ones, GRO joins those, and uplink_tcx
 * delivers the joined packets.
 */
#include "deliver.h"
#include "ecn.h"
#include "location.h"
#include "transit.h"
#include "tunnel.h"

#define FIB_FAMILY_IPV4 2 /* AF_INET */
#define LOOPBACK_IFINDEX 1 /* in every network namespace */

/* The stages that both programs begin with; HINTs end here. */
static __always_inline int tunnel_read(const struct frame *frame, const struct host_config *config,
				       struct tunnel *t)
{
	int left = outer_check(frame, t);

	if (left != GO_ON)
		return left;
	left = geneve_read(frame, t);
	if (left != GO_ON)
		return left;
	if (!t->control)
		return inner_read(frame, t);
	if (!t->options.hint)
		return REASON_CONTROL_UNKNOWN;
	if ((void *)(t->options.hint + 1) > frame->end)
		return REASON_TRUNCATED;
	return location_hint(t->vni, t->options.hint, clock_ns(config));
}

/* SWITCHED or ROUTED and the next host, or why this packet ends here. */
static __always_inline enum reason transit_route(const struct tunnel *t,
						 const struct host_config *config,
						 struct address **next)
{
	enum reason reason =
		transit_next(config, &t->destination, bpf_ntohs(t->udp->source), next);

	if (verdict_of(reason) == VERDICT_PASS && t->outer->ttl <= TRANSIT_TTL_SHARE)
		return REASON_TRANSIT_LOOP;
	return reason;
}

/* ---- XDP ---- */

/* Asking costs more than all else that is done to a transit packet. Asked as if from
 * loopback: the kernel wants forwarding on where the question comes from, and on
 * loopback that opens nothing. */
static __always_inline bool next_hop_ask(struct xdp_md *xdp, const struct host_config *config,
					 __be32 to, __u64 now, struct next_hop *hop)
{
	struct bpf_fib_lookup way = {
		.family = FIB_FAMILY_IPV4,
		.l4_protocol = IPPROTO_UDP,
		.ifindex = LOOPBACK_IFINDEX,
		.ipv4_src = address_ipv4(ADDRESS(config->host)),
		.ipv4_dst = to,
	};

	if (bpf_fib_lookup(xdp, &way, sizeof(way), 0) != BPF_FIB_LKUP_RET_SUCCESS ||
	    way.ifindex != xdp->ingress_ifindex)
		return false;
	mac_copy(hop->macs, way.dmac);
	mac_copy(hop->macs + MAC_BYTES, way.smac);
	hop->to = to;
	hop->asked_jiffies = now;
	return true;
}

/* Writes the next hop's MAC; not when its neighbour must first be resolved, or
 * the way leads out of another port: redirect_neigh in tcx can do both. */
static __always_inline bool next_hop_write(struct xdp_md *xdp, const struct frame *frame,
					   const struct host_config *config, __be32 to)
{
	struct ethhdr *ethernet = frame->data;
	__u32 slot = hash_mix(to) % LIMIT_NEXT_HOPS;
	struct next_hop *hop = bpf_map_lookup_elem(&next_hops, &slot);
	__u64 now = bpf_jiffies64();

	if (!hop)
		return false;
	if ((hop->to != to || now - hop->asked_jiffies >= NEXT_HOP_JIFFIES) &&
	    !next_hop_ask(xdp, config, to, now, hop))
		return false;
	mac_copy(ethernet->h_dest, hop->macs);
	mac_copy(ethernet->h_source, hop->macs + MAC_BYTES);
	return true;
}

static __always_inline int transit_xdp(struct xdp_md *xdp, const struct frame *frame,
				       const struct host_config *config, struct tunnel *t)
{
	struct address *next = 0;
	enum reason reason = transit_route(t, config, &next);

	if (verdict_of(reason) != VERDICT_PASS || !next)
		return reason;
	if (!next_hop_write(xdp, frame, config, address_ipv4(next)))
		return REASON_LEFT_TO_TCX;
	outer_rewrite(t, config, next);
	return reason;
}

/* The metadata is equal for all packets of a flow, or GRO would join nothing. The
 * inner MAC is the endpoint's: no host stack takes such a frame for its own. */
static __always_inline int strip(struct xdp_md *xdp, const struct host_config *config,
				 struct tunnel *t, const struct local_endpoint *to)
{
	struct handover handover = {
		.magic = HANDOVER_MAGIC,
		.vni = t->vni,
		.identity = t->options.identity,
	};
	struct handover *metadata;
	int left;

	if (config->delivery_attached != 1)
		return REASON_LEFT_TO_TCX;
	left = ecn_combine(t->inner, t->outer->tos);
	if (left != GO_ON)
		return left;
	*ADDRESS(handover.origin) = origin_of(t);
	mac_copy(t->inner_ethernet->h_dest, to->mac);
	mac_copy(t->inner_ethernet->h_source, config->router_mac);
	if (bpf_xdp_adjust_head(xdp, t->bytes) ||
	    bpf_xdp_adjust_meta(xdp, -(int)sizeof(handover)))
		return REASON_DECAPSULATION_FAILED;
	metadata = (void *)(long)xdp->data_meta;
	if ((void *)(metadata + 1) > (void *)(long)xdp->data)
		return REASON_DECAPSULATION_FAILED;
	*metadata = handover;
	return REASON_STRIPPED;
}

/* Straight from its sender to a holder of a transit table: most likely for another host,
 * so the table is asked first. It may lag behind `local` while an endpoint moves: that
 * costs a detour and no loop, as the next time the packet is none of these. */
static __always_inline bool is_first_hop(const struct tunnel *t)
{
	return t->options.has_origin && t->outer->ttl > OUTER_TTL - TRANSIT_TTL_SHARE;
}

static __always_inline int xdp_stages(struct xdp_md *xdp, struct passage *passage)
{
	struct host_config *config = configuration();
	struct frame frame = frame_of_xdp(xdp);
	struct local_endpoint *to;
	struct tunnel t = {};
	int left;

	if (!config)
		return REASON_NOT_OURS;
	left = outer_read(&frame, config, &t);
	if (left != GO_ON)
		return left;
	left = tunnel_read(&frame, config, &t);
	if (left != GO_ON)
		return left;
	if (is_first_hop(&t)) {
		left = transit_xdp(xdp, &frame, config, &t);
		if (verdict_of(left) != VERDICT_DROP)
			return left;
	}
	to = bpf_map_lookup_elem(&local, &t.destination);
	return to ? strip(xdp, config, &t, to) : transit_xdp(xdp, &frame, config, &t);
}

SEC("xdp")
int uplink_xdp(struct xdp_md *xdp)
{
	__u64 bytes = frame_of_xdp(xdp).bytes;

	struct passage passage = {};
	enum reason reason = xdp_stages(xdp, &passage);

	return leave_xdp(xdp, &passage, reason, bytes);
}

/* ---- tcx ---- */

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

static __always_inline int deliver_stripped(struct __sk_buff *skb,
					    const struct host_config *config,
					    const struct handover *handover)
{
	struct frame frame = frame_of_skb(skb);
	struct iphdr *ip = frame.data + sizeof(struct ethhdr);
	struct local_endpoint *to;
	struct arrival arrival = {
		.source.vni = handover->vni,
		.destination.vni = handover->vni,
		.origin = *ADDRESS(handover->origin),
		.identity = handover->identity,
	};

	if ((void *)(ip + 1) > frame.end)
		return REASON_TRUNCATED;
	address_from_ipv4(ADDRESS(arrival.source.address), ip->saddr);
	address_from_ipv4(ADDRESS(arrival.destination.address), ip->daddr);
	to = bpf_map_lookup_elem(&local, &arrival.destination);
	return to ? deliver(skb, config, &arrival, to) : REASON_NOT_HERE;
}

/* FIXED_GSO: segments keep their size, so a 64 KB packet stays whole. */
static __always_inline int deliver_tunnelled(struct __sk_buff *skb,
					     const struct host_config *config, struct tunnel *t,
					     const struct local_endpoint *to)
{
	struct arrival arrival = {
		.source = t->source,
		.destination = t->destination,
		.origin = origin_of(t),
		.identity = t->options.identity,
	};
	struct iphdr inner = *t->inner;
	int left = ecn_combine(&inner, t->outer->tos);
	bool marked = inner.tos != t->inner->tos;

	if (left != GO_ON)
		return left;
	if (bpf_skb_adjust_room(skb, -(int)t->bytes, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return REASON_DECAPSULATION_FAILED;
	if (marked && bpf_skb_store_bytes(skb, sizeof(struct ethhdr), &inner, sizeof(inner), 0))
		return REASON_DECAPSULATION_FAILED;
	return deliver(skb, config, &arrival, to);
}

static __always_inline int transit_tcx(struct __sk_buff *skb, const struct host_config *config,
				       struct tunnel *t)
{
	struct address *next = 0;
	enum reason reason = transit_route(t, config, &next);
	struct {
		struct iphdr ip;
		struct udphdr udp;
	} outer;

	if (verdict_of(reason) != VERDICT_PASS || !next)
		return reason;
	outer.ip = *t->outer;
	outer.udp = *t->udp;
	t->outer = &outer.ip;
	t->udp = &outer.udp;
	outer_rewrite(t, config, next);
	if (bpf_skb_store_bytes(skb, sizeof(struct ethhdr), &outer, sizeof(outer), 0))
		return REASON_REDIRECT_FAILED;
	if (bpf_redirect_neigh(config->uplink_ifindex, 0, 0, 0) != TC_ACT_REDIRECT)
		return REASON_REDIRECT_FAILED;
	return reason;
}

static __always_inline int tcx_stages(struct __sk_buff *skb, struct passage *passage)
{
	struct host_config *config = configuration();
	struct handover *handover = handover_of(skb);
	struct local_endpoint *to;
	struct tunnel t = {};
	struct frame frame;
	int left;

	if (!config)
		return REASON_NOT_OURS;
	if (handover && !skb->vlan_present)
		return deliver_stripped(skb, config, handover);
	if (was_stripped(skb, config))
		return REASON_HANDOVER_LOST;
	/* On a tagged packet the addresses are some other link's. */
	if (skb->vlan_present)
		return REASON_NOT_OURS;
	pull(skb, OUTER_HEADERS);
	frame = frame_of_skb(skb);
	left = outer_read(&frame, config, &t);
	if (left != GO_ON)
		return left;
	pull(skb, TUNNEL_HEADERS_MAX);
	frame = frame_of_skb(skb);
	left = outer_read(&frame, config, &t);
	if (left != GO_ON)
		return left;
	left = tunnel_read(&frame, config, &t);
	if (left != GO_ON)
		return left;
	to = bpf_map_lookup_elem(&local, &t.destination);
	return to ? deliver_tunnelled(skb, config, &t, to) : transit_tcx(skb, config, &t);
}

/* Writes to packets by helper, never in place: a program that does so gets its own copy
 * of each packet that somebody else holds too (tcpdump), and a copy has no metadata. */
SEC("tc")
int uplink_tcx(struct __sk_buff *skb)
{
	__u64 bytes = skb->len;

	struct passage passage = {};
	enum reason reason = tcx_stages(skb, &passage);

	return leave_tc(skb, &passage, PROGRAM_UPLINK_TCX, reason, bytes);
}

char _license[] SEC("license") = "GPL";
