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
#include "handover.h"
#include "hint.h"
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

/* FIXED_GSO: segments keep their size, so a 64 KB packet stays whole. */
static __always_inline bool room_cut(struct __sk_buff *skb, __u32 bytes, __u64 flags)
{
	return !bpf_skb_adjust_room(skb, -(int)bytes, BPF_ADJ_ROOM_MAC,
				    BPF_F_ADJ_ROOM_FIXED_GSO | flags);
}

/* What has IPv6 inside must become IPv6 to the kernel. Without the flag for it the helper for
 * translation does that; the room that it makes for the longer header goes with the tunnel. */
static __always_inline bool tunnel_cut(struct __sk_buff *skb, __u32 bytes, bool is_ipv6)
{
	const __u32 longer = sizeof(struct ipv6hdr) - sizeof(struct iphdr);

	if (!is_ipv6)
		return room_cut(skb, bytes, 0);
	return room_cut(skb, bytes, ADJ_ROOM_DECAP_L3_IPV6) ||
	       (!bpf_skb_change_proto(skb, bpf_htons(ETH_P_IPV6), 0) &&
		room_cut(skb, bytes + longer, 0));
}

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

	*ADDRESS(arrival.source.address) = passage->source;
	if (left != GO_ON)
		return left;
	if (!tunnel_cut(skb, t->bytes, inner.version == 6))
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

/* What data on the direct path has in front of it. */
#define USUAL_HEADERS (OUTER_HEADERS + IDENTITY_PART_BYTES + INNER_HEADERS)

/* Has this packet, Geneve to this host, other options than IDENTITY, or is it no data? */
static __always_inline bool is_unusual(const struct frame *frame)
{
	struct geneve_header *geneve = frame->data + OUTER_HEADERS - sizeof(*geneve);

	return (void *)(geneve + 1) <= frame->end &&
	       (geneve->version_length != IDENTITY_PART_BYTES / 4 || geneve->flags);
}

/* Brings as much into one piece as will be read, and no more: beyond what a sender's kernel
 * has put there itself, the kernel copies it, for every packet (ADR 11). */
static __always_inline int headers_pull(struct __sk_buff *skb, const struct host_config *config,
					struct tunnel *t)
{
	struct frame frame;
	int left;

	pull(skb, OUTER_HEADERS);
	frame = frame_of_skb(skb);
	left = outer_read(&frame, config, t);
	if (left != GO_ON)
		return left;
	pull(skb, is_unusual(&frame) ? TUNNEL_HEADERS_MAX : USUAL_HEADERS);
	frame = frame_of_skb(skb);
	return outer_read(&frame, config, t);
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
	left = headers_pull(skb, config, t);
	if (left != GO_ON)
		return left;
	frame = frame_of_skb(skb);
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
