/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Reading headers of any packet, IPv4 and IPv6: bounds, addresses, the flow's ports.
 * Nothing of tunnels. */
#ifndef MIZAR_PARSE_H
#define MIZAR_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "address.h"
#include "exit.h"
#include "model.h"

#define IPV4_HEADER_MAX 60
#define FRAGMENT_OFFSET 0x1fff
#define FRAGMENT_MORE 0x2000
#define DONT_FRAGMENT 0x4000

/* A packet as a program sees it: what lies in one piece, and how long it really is. */
struct frame {
	void *data;
	void *end;
	__u64 bytes;
};

static __always_inline struct frame frame_of_skb(const struct __sk_buff *skb)
{
	return (struct frame){
		.data = (void *)(long)skb->data,
		.end = (void *)(long)skb->data_end,
		.bytes = skb->len,
	};
}

static __always_inline struct frame frame_of_xdp(const struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data;
	void *end = (void *)(long)xdp->data_end;

	return (struct frame){.data = data, .end = end, .bytes = end - data};
}

/* Brings the first `bytes` of the packet, or all of it, into one piece. Pointers
 * into the packet are void after this. */
static __always_inline void pull(struct __sk_buff *skb, __u32 bytes)
{
	if (bytes > skb->len)
		bytes = skb->len;
	if (skb->data_end - skb->data < bytes)
		bpf_skb_pull_data(skb, bytes);
}

/* `bytes`: what the packet holds from `ip` on. */
static __always_inline int ipv4_check(const struct iphdr *ip, const void *end, __u64 bytes)
{
	__u32 total;

	if ((const void *)(ip + 1) > end)
		return REASON_TRUNCATED;
	if (ip->version != 4 || ip->ihl < 5)
		return REASON_MALFORMED;
	total = bpf_ntohs(ip->tot_len);
	if (total < ip->ihl * 4)
		return REASON_MALFORMED;
	return total > bytes ? REASON_TRUNCATED : GO_ON;
}

static __always_inline bool ipv4_is_fragment(const struct iphdr *ip)
{
	return ip->frag_off & bpf_htons(FRAGMENT_OFFSET | FRAGMENT_MORE);
}

/* `bytes`: what the packet holds from `ip` on. */
static __always_inline int ipv6_check(const struct ipv6hdr *ip, const void *end, __u64 bytes)
{
	if ((const void *)(ip + 1) > end)
		return REASON_TRUNCATED;
	if (ip->version != 6)
		return REASON_MALFORMED;
	return bpf_ntohs(ip->payload_len) + sizeof(*ip) > bytes ? REASON_TRUNCATED : GO_ON;
}

static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

/* Where the transport header is, past IPv4 options and IPv6 extension headers. */
struct transport {
	__u16 offset;    /* from the IP header; 0: none, or not to be found */
	__u8 protocol;   /* of the transport header, or of the header where the search ended */
	bool fragment;   /* part of a packet; only the first has a transport header */
	bool extended;   /* IPv6 extension headers are in front of it */
};

static __always_inline struct transport ipv4_transport(const struct iphdr *ip)
{
	struct transport t = {.protocol = ip->protocol, .fragment = ipv4_is_fragment(ip)};

	if (!(ip->frag_off & bpf_htons(FRAGMENT_OFFSET)))
		t.offset = ip->ihl * 4;
	return t;
}

/* A header's first 8 bytes: enough of every extension header. */
struct extension {
	__u8 next;
	__u8 length;
	__be16 fragment;  /* of a fragment header: offset * 8, and M in the lowest bit */
	__be32 rest;
};
#define IPV6_FRAGMENT_OFFSET 0xfff8
#define IPV6_FRAGMENT_MORE 1
#define EXTENSIONS_BYTES_MAX 2048

static __always_inline bool is_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_FRAGMENT || protocol == IPPROTO_AH ||
	       protocol == IPPROTO_DSTOPTS;
}

/* Walks at most LIMIT_EXTENSION_HEADERS; what lies deeper, or beyond `end`, has no offset. */
static __always_inline struct transport ipv6_transport(const struct ipv6hdr *ip, const void *end)
{
	struct transport t = {.protocol = ip->nexthdr};
	__u32 at = sizeof(*ip);

	for (int i = 0; i < LIMIT_EXTENSION_HEADERS; i++) {
		const struct extension *header = (const void *)ip + at;

		if (!is_extension(t.protocol))
			break;
		t.extended = true;
		if (at > EXTENSIONS_BYTES_MAX || (const void *)(header + 1) > end)
			return t;
		if (t.protocol == IPPROTO_FRAGMENT) {
			t.fragment |= header->fragment != 0 &&
				      header->fragment & bpf_htons(IPV6_FRAGMENT_OFFSET |
								   IPV6_FRAGMENT_MORE);
			at += 8;
			t.protocol = header->next;
			if (header->fragment & bpf_htons(IPV6_FRAGMENT_OFFSET))
				return t;
			continue;
		}
		at += t.protocol == IPPROTO_AH ? (header->length + 2) * 4 : (header->length + 1) * 8;
		t.protocol = header->next;
	}
	if (at <= EXTENSIONS_BYTES_MAX && !is_extension(t.protocol))
		t.offset = at;
	return t;
}

/* source << 16 | destination; 0 where there are none, or they can't be read. */
static __always_inline __u32 transport_ports(const struct transport *t, const void *ip,
					     const void *end)
{
	const __be32 *ports = ip + t->offset;

	if (!t->offset || t->fragment || !has_ports(t->protocol) || t->offset > EXTENSIONS_BYTES_MAX ||
	    (const void *)(ports + 1) > end)
		return 0;
	return bpf_ntohl(*ports);
}

/* Bytes of IP and transport header in front of each segment of a GSO packet; 0: unreadable. */
static __always_inline __u32 segment_headers(const struct iphdr *ip, const void *end)
{
	const struct tcphdr *tcp = (const void *)ip + ip->ihl * 4;

	if (ip->protocol != IPPROTO_TCP)
		return ip->ihl * 4 + 8;
	if ((const void *)(tcp + 1) > end)
		return 0;
	return ip->ihl * 4 + tcp->doff * 4;
}

#endif
