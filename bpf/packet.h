/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Writing over a packet on the uplink and sending it on to another host.
 *
 * One body for XDP and tc, which differ in their helpers alone: `in_xdp` is a constant where
 * these are inlined. In tc by helper, never in place: see uplink_tcx. XDP asks for the way
 * before the first byte is written, so that what it leaves to tcx is as it came.
 */
#ifndef MIZAR_PACKET_H
#define MIZAR_PACKET_H

#include "next_hop.h"
#include "tunnel.h"

struct outer_headers {
	struct iphdr ip;
	struct udphdr udp;
};

static __always_inline __u32 packet_bytes(void *context, bool in_xdp)
{
	return in_xdp ? frame_of_xdp(context).bytes : frame_of_skb(context).bytes;
}

static __always_inline bool packet_write(void *context, bool in_xdp, __u32 at, void *bytes,
					 __u32 size)
{
	if (in_xdp)
		return !bpf_xdp_store_bytes(context, at, bytes, size);
	return !bpf_skb_store_bytes(context, at, bytes, size, 0);
}

/* Cuts the frame. In tc the kernel refuses where the inner packet's checksum is still to be
 * filled in behind the cut: so come packets from another namespace or VM of this machine. */
static __always_inline bool packet_cut(void *context, bool in_xdp, __u32 to)
{
	if (in_xdp)
		return !bpf_xdp_adjust_tail(context, (int)to - (int)packet_bytes(context, true));
	return !bpf_skb_change_tail(context, to, 0);
}

/* Is the next hop known? In tc the kernel finds it when the packet is sent. */
static __always_inline bool way_known(void *context, bool in_xdp, const struct host_config *config,
				      const struct address *to)
{
	return !in_xdp || next_hop_write(context, config, address_ipv4(to));
}

static __always_inline bool packet_sent(bool in_xdp, const struct host_config *config)
{
	return in_xdp || bpf_redirect_neigh(config->uplink_ifindex, 0, 0, 0) == TC_ACT_REDIRECT;
}

/* Back to where it came from. That may be this very host, to which no neighbour leads: then in
 * again by the uplink. XDP has left it to tcx, having found no next hop. */
static __always_inline bool packet_returned(bool in_xdp, const struct host_config *config,
					    const struct address *to)
{
	if (!in_xdp && address_equal(to, ADDRESS(config->host)))
		return bpf_redirect(config->uplink_ifindex, BPF_F_INGRESS) == TC_ACT_REDIRECT;
	return packet_sent(in_xdp, config);
}

/* From this host to another: the outer header alone changes. */
static __always_inline void outer_rewrite(struct iphdr *outer, struct udphdr *udp,
					  const struct host_config *config,
					  const struct address *to, __u8 ttl)
{
	outer->saddr = address_ipv4(ADDRESS(config->host));
	outer->daddr = address_ipv4(to);
	outer->ttl = ttl;
	udp->check = 0;
	ipv4_checksum_set(outer);
}

static __always_inline bool outer_store(void *context, bool in_xdp, struct outer_headers *outer)
{
	return packet_write(context, in_xdp, sizeof(struct ethhdr), outer, sizeof(*outer));
}

/* On to the host t->next; `reason`, or why not. */
static __always_inline int forward(void *context, bool in_xdp, const struct host_config *config,
				   struct tunnel *t, enum reason reason)
{
	struct outer_headers outer;
	__u8 ttl = t->outer->ttl;

	if (ttl <= TRANSIT_TTL_SHARE)
		return REASON_TRANSIT_LOOP;
	ttl -= TRANSIT_TTL_SHARE;
	if (!way_known(context, in_xdp, config, t->next))
		return REASON_LEFT_TO_TCX;
	if (in_xdp) {
		outer_rewrite(t->outer, udp_of(t), config, t->next, ttl);
		return reason;
	}
	outer = (struct outer_headers){.ip = *t->outer, .udp = *udp_of(t)};
	outer_rewrite(&outer.ip, &outer.udp, config, t->next, ttl);
	if (!outer_store(context, in_xdp, &outer) || !packet_sent(in_xdp, config))
		return REASON_REDIRECT_FAILED;
	return reason;
}

#endif
