/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What all answers share: an answer is written in a scratch value, takes the place of
 * the packet that asked, and leaves by the interface that it came in by.
 *
 * The scratch value, because 512 bytes of stack are for all functions of a call
 * chain together. Answers are subprograms of their own (__noinline), so that the
 * way of all other packets keeps its registers.
 */
#ifndef MIZAR_ANSWER_H
#define MIZAR_ANSWER_H

#include <linux/udp.h>

#include "address.h"
#include "checksum.h"
#include "exit.h"
#include "parse.h"
#include "resize.h"

#define ANSWER_HOPS 64

/* An Ethernet header whose successor lies on a 4-byte boundary. */
struct aligned_ethernet {
	__u16 pad;
	struct ethhdr header;
};

struct answer_ipv4 {
	struct aligned_ethernet ethernet;
	struct iphdr ip;
};

/* ICMP of both families; linux/icmp.h needs a C library for another machine. */
struct icmp_head {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 rest;
};

struct answer_ipv6 {
	struct aligned_ethernet ethernet;
	struct ipv6hdr ip;
};

static __always_inline bool endpoint_owns(const struct endpoint_key *key, __u32 ifindex)
{
	struct local_endpoint *owner = bpf_map_lookup_elem(&local, key);

	return owner && owner->ifindex == ifindex;
}

/* This CPU's scratch value; holds what the last answer left. */
static __always_inline void *answer_scratch(void)
{
	__u32 only = 0;

	return bpf_map_lookup_elem(&answers, &only);
}

static __always_inline void answer_ethernet(struct aligned_ethernet *ethernet,
					    const struct host_config *config, const void *to,
					    __u16 protocol)
{
	mac_copy(ethernet->header.h_dest, to);
	mac_copy(ethernet->header.h_source, config->router_mac);
	ethernet->header.h_proto = bpf_htons(protocol);
}

/* The rest of `answer` is zero; `bytes` follow the IP header. */
static __always_inline void answer_ipv4(struct answer_ipv4 *answer, const struct address *from,
					__be32 to, __u8 protocol, __u32 bytes)
{
	answer->ip.version = 4;
	answer->ip.ihl = sizeof(struct iphdr) / 4;
	answer->ip.tot_len = bpf_htons(sizeof(struct iphdr) + bytes);
	answer->ip.frag_off = bpf_htons(DONT_FRAGMENT);
	answer->ip.ttl = ANSWER_HOPS;
	answer->ip.protocol = protocol;
	answer->ip.saddr = address_ipv4(from);
	answer->ip.daddr = to;
	ipv4_checksum_set(&answer->ip);
}

/* The rest of `answer` is zero; `bytes` follow the IP header. */
static __always_inline void answer_ipv6(struct answer_ipv6 *answer, const struct address *from,
					const struct address *to, __u8 protocol, __u32 bytes,
					__u8 hop_limit)
{
	answer->ip.version = 6;
	answer->ip.payload_len = bpf_htons(bytes);
	answer->ip.nexthdr = protocol;
	answer->ip.hop_limit = hop_limit;
	*ADDRESS(&answer->ip.saddr) = *from;
	*ADDRESS(&answer->ip.daddr) = *to;
}

/* Checksum of ICMPv6 or UDP (RFC 8200, 8.1): what follows the IPv6 header, `padded` of it
 * (a multiple of 4, zero where the packet has ended), and the pseudo-header, whose
 * addresses lie right before it. */
static __always_inline __u16 answer_ipv6_checksum(struct answer_ipv6 *answer, __u32 padded)
{
	__u32 rest = answer->ip.payload_len + bpf_htons(answer->ip.nexthdr);

	return ~checksum_fold(bpf_csum_diff(0, 0, (__be32 *)&answer->ip.saddr,
					    2 * sizeof(struct address) + padded, rest));
}

/* `bytes`: of the whole frame, which begins at the Ethernet header. */
static __always_inline int answer_send(struct __sk_buff *skb, struct aligned_ethernet *ethernet,
				       __u32 bytes, enum reason reason)
{
	if (!frame_replace(skb, &ethernet->header, bytes) ||
	    bpf_redirect(skb->ifindex, 0) != TC_ACT_REDIRECT)
		return REASON_REDIRECT_FAILED;
	return reason;
}

#endif
