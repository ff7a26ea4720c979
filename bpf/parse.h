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

/* A pointer that the context holds in 32 bits. In assembly, since the compiler would move
 * it about as the 32-bit number that it thinks it is, which the verifier won't have. */
#define CONTEXT_POINTER(context, field)                                             \
	({                                                                          \
		void *pointer;                                                      \
		asm volatile("%0 = *(u32 *)(%1 + %2)"                               \
			     : "=r"(pointer)                                        \
			     : "r"(context), "i"(__builtin_offsetof(typeof(*(context)), field))); \
		pointer;                                                            \
	})

static __always_inline struct frame frame_of_skb(const struct __sk_buff *skb)
{
	return (struct frame){
		.data = CONTEXT_POINTER(skb, data),
		.end = CONTEXT_POINTER(skb, data_end),
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

/* How much of a packet is read to find its transport header and what that says: more than
 * IPv4 can need, and enough for usual chains of IPv6 extension headers. */
#define IP_BYTES_READ 206
#define HEADERS_READ (sizeof(struct ethhdr) + IP_BYTES_READ)

/* Where the transport header is, past IPv4 options and IPv6 extension headers. */
struct transport {
	__u16 searched;  /* bytes of IP and extension headers that were walked */
	__u8 offset;     /* from the IP header, < IP_BYTES_READ; 0: none, or not to be found */
	__u8 protocol;   /* of the transport header, or of the header where the search ended */
	bool fragment;   /* part of a packet ... */
	bool later_fragment;  /* ... and not the first, so without a transport header */
	bool extended;   /* IPv6 extension headers are in front of it */
};

static __always_inline struct transport ipv4_transport(const struct iphdr *ip)
{
	struct transport t = {
		.searched = ip->ihl * 4,
		.protocol = ip->protocol,
		.fragment = ipv4_is_fragment(ip),
		.later_fragment = ip->frag_off & bpf_htons(FRAGMENT_OFFSET),
	};

	if (!t.later_fragment)
		t.offset = t.searched;
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

static __always_inline bool is_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_FRAGMENT || protocol == IPPROTO_AH ||
	       protocol == IPPROTO_DSTOPTS;
}

static __always_inline __u32 extension_bytes(const struct extension *header, __u8 protocol)
{
	if (protocol == IPPROTO_FRAGMENT)
		return sizeof(*header);
	return protocol == IPPROTO_AH ? (header->length + 2) * 4 : (header->length + 1) * 8;
}

/* One extension header; false: the search ends here, in front of it or behind it. */
static __always_inline bool extension_pass(const struct ipv6hdr *ip, const void *end,
					   struct transport *t)
{
	const struct extension *header = (const void *)ip + t->searched;
	__u8 protocol = t->protocol;

	t->extended = true;
	if (t->searched > IP_BYTES_READ - sizeof(*header) || (const void *)(header + 1) > end)
		return false;
	t->searched += extension_bytes(header, protocol);
	t->protocol = header->next;
	if (protocol != IPPROTO_FRAGMENT)
		return true;
	if (header->fragment & bpf_htons(IPV6_FRAGMENT_OFFSET | IPV6_FRAGMENT_MORE))
		t->fragment = true;
	t->later_fragment = header->fragment & bpf_htons(IPV6_FRAGMENT_OFFSET);
	return !t->later_fragment;
}

/* Walks at most LIMIT_EXTENSION_HEADERS; what lies deeper, or further than IP_BYTES_READ,
 * has no offset. */
static __always_inline struct transport ipv6_transport(const struct ipv6hdr *ip, const void *end)
{
	struct transport t = {.searched = sizeof(*ip), .protocol = ip->nexthdr};

	for (int i = 0; i < LIMIT_EXTENSION_HEADERS; i++) {
		if (!is_extension(t.protocol))
			break;
		if (!extension_pass(ip, end, &t))
			return t;
	}
	if (!is_extension(t.protocol) && t.searched < IP_BYTES_READ)
		t.offset = t.searched;
	return t;
}

/* The transport header's first `bytes`; NULL where there is none, or they can't be read. */
static __always_inline const void *transport_header(const struct transport *t, const void *ip,
						    const void *end, __u32 bytes)
{
	__u32 offset = t->offset;
	const void *header;

	if (!offset || offset > IP_BYTES_READ - bytes)
		return 0;
	header = ip + offset;
	return header + bytes > end ? 0 : header;
}

/* source << 16 | destination; 0 where there are none, or they can't be read. */
static __always_inline __u32 transport_ports(const struct transport *t, const void *ip,
					     const void *end)
{
	const __be32 *ports;

	if (t->fragment || !has_ports(t->protocol))
		return 0;
	ports = transport_header(t, ip, end, sizeof(*ports));
	return ports ? bpf_ntohl(*ports) : 0;
}

/* Bytes of IP and transport header in front of each segment of a GSO packet; 0: unreadable. */
static __always_inline __u32 segment_headers(const struct transport *t, const void *ip,
					     const void *end)
{
	const struct tcphdr *tcp;

	if (t->protocol != IPPROTO_TCP)
		return t->searched + 8;
	tcp = transport_header(t, ip, end, sizeof(*tcp));
	return tcp ? t->searched + tcp->doff * 4 : 0;
}

#endif
