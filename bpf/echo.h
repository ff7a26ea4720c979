/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Ping of the gateway (RFC 792, RFC 4443), answered on the host. */
#ifndef MIZAR_ECHO_H
#define MIZAR_ECHO_H

#include "answer.h"

#define ICMP_ECHO_REQUEST 8
#define ICMP_ECHO_REPLY 0
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129

/* Of an IPv4 header with its options. */
static __always_inline int echo_ipv4_header(struct __sk_buff *skb, __u32 header_bytes)
{
	union {
		struct iphdr ip;
		__be32 words[IPV4_HEADER_MAX / 4];
	} header = {};
	__be32 source;

	if (header_bytes < sizeof(header.ip) || header_bytes > sizeof(header) ||
	    bpf_skb_load_bytes(skb, sizeof(struct ethhdr), &header, header_bytes))
		return REASON_TRUNCATED;
	source = header.ip.saddr;
	header.ip.saddr = header.ip.daddr;
	header.ip.daddr = source;
	header.ip.ttl = ANSWER_HOPS;
	header.ip.check = 0;
	header.ip.check = ~checksum_fold(bpf_csum_diff(0, 0, header.words, sizeof(header), 0));
	return bpf_skb_store_bytes(skb, sizeof(struct ethhdr), &header, sizeof(header.ip), 0) ?
		       REASON_TRUNCATED : GO_ON;
}

static __always_inline int echo_ipv6_header(struct __sk_buff *skb)
{
	struct ipv6hdr ip;
	struct address source;

	if (bpf_skb_load_bytes(skb, sizeof(struct ethhdr), &ip, sizeof(ip)))
		return REASON_TRUNCATED;
	source = *ADDRESS(&ip.saddr);
	*ADDRESS(&ip.saddr) = *ADDRESS(&ip.daddr);
	*ADDRESS(&ip.daddr) = source;
	ip.hop_limit = ANSWER_HOPS;
	return bpf_skb_store_bytes(skb, sizeof(struct ethhdr), &ip, sizeof(ip), 0) ?
		       REASON_TRUNCATED : GO_ON;
}

/* Turns an echo request into its reply; GO_ON: it is none. */
static __noinline int echo_answer(struct __sk_buff *skb, const struct host_config *config,
				  const struct port *port, const struct transport *transport,
				  bool is_ipv6)
{
	__u32 at = sizeof(struct ethhdr) + transport->offset;
	struct aligned_ethernet ethernet = {};
	struct icmp_head icmp;
	__be16 before;
	int left;

	if (!transport->offset || transport->offset > IP_BYTES_READ - sizeof(icmp) ||
	    transport->fragment ||
	    transport->protocol != (is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) ||
	    bpf_skb_load_bytes(skb, at, &icmp, sizeof(icmp)) ||
	    icmp.type != (is_ipv6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO_REQUEST) || icmp.code)
		return GO_ON;
	before = *(__be16 *)&icmp.type;
	icmp.type = is_ipv6 ? ICMPV6_ECHO_REPLY : ICMP_ECHO_REPLY;
	icmp.checksum = checksum_changed(icmp.checksum, before, *(__be16 *)&icmp.type);
	left = is_ipv6 ? echo_ipv6_header(skb) : echo_ipv4_header(skb, transport->offset);
	if (left != GO_ON)
		return left;
	answer_ethernet(&ethernet, config, port->mac, is_ipv6 ? ETH_P_IPV6 : ETH_P_IP);
	if (bpf_skb_store_bytes(skb, at, &icmp, sizeof(icmp), 0) ||
	    bpf_skb_store_bytes(skb, 0, &ethernet.header, sizeof(ethernet.header), 0) ||
	    bpf_redirect(skb->ifindex, 0) != TC_ACT_REDIRECT)
		return REASON_REDIRECT_FAILED;
	return REASON_ECHO_ANSWERED;
}

#endif
