/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* A LOOKUP that came back from a table: its sender is told by ICMP, in tc programs. */
#ifndef MIZAR_RETURNED_H
#define MIZAR_RETURNED_H

#include "icmp.h"
#include "tunnel.h"

/* The table's reason, ICMP_ERROR(). */
static __always_inline __u16 returned_error_of(const struct frame *frame, const struct tunnel *t,
					       bool is_ipv6)
{
	__be32 *number = frame->data + OUTER_HEADERS +
			 (t->options.control_at & GENEVE_OPTIONS_MASK);

	if ((void *)(number + 1) > frame->end)
		return 0;
	return icmp_error_of(*number == bpf_htonl(RETURNED_NO_NETWORK) ? REASON_NO_NETWORK
								       : REASON_NOT_HERE,
			     is_ipv6);
}

/* May the sender of the inner packet, at `at`, be told of its end? */
static __always_inline bool returned_may_tell(const struct frame *frame, __u32 at, bool is_ipv6)
{
	const struct ipv6hdr *ip = frame->data + (at & TUNNEL_BYTES_MASK);
	struct transport transport;

	if ((const void *)(ip + 1) <= frame->end && is_ipv6) {
		transport = ipv6_transport(ip, frame->end);
		return icmp_may_tell(&transport, ip, frame->end, true);
	}
	if ((const void *)ip + sizeof(struct iphdr) > frame->end || is_ipv6)
		return false;
	transport = ipv4_transport((const void *)ip);
	return icmp_may_tell(&transport, ip, frame->end, false);
}

/* RETURNED_TOLD, or RETURNED_IGNORED when its sender isn't here or isn't to be told. */
static __noinline int returned_tell(struct __sk_buff *skb, const struct host_config *config,
				    const struct tunnel *t, const struct passage *passage)
{
	struct endpoint_key source = {.vni = t->vni};
	struct icmp_error error = {
		.at = t->bytes + sizeof(struct ethhdr),
		.is_ipv6 = t->inner->h_proto == bpf_htons(ETH_P_IPV6),
	};
	struct local_endpoint *sender;
	struct port *port;
	struct frame frame;

	*ADDRESS(source.address) = passage->source;
	sender = bpf_map_lookup_elem(&local, &source);
	if (!sender)
		return REASON_RETURNED_IGNORED;
	error.ifindex = sender->ifindex;
	port = bpf_map_lookup_elem(&ports, &error.ifindex);
	pull(skb, error.at + IP_BYTES_READ);
	frame = frame_of_skb(skb);
	error.what = returned_error_of(&frame, t, error.is_ipv6);
	if (!port || !error.what || !returned_may_tell(&frame, error.at, error.is_ipv6) ||
	    !icmp_error_send(skb, config, port, &error))
		return REASON_RETURNED_IGNORED;
	return REASON_RETURNED_TOLD;
}

#endif
