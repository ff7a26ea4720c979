/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Reading headers of any packet: bounds, IPv4, the flow's ports. Nothing of tunnels. */
#ifndef MIZAR_PARSE_H
#define MIZAR_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "address.h"
#include "exit.h"

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

static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

/* source << 16 | destination; 0 where there are none, or they can't be read. */
static __always_inline __u32 ipv4_ports(const struct iphdr *ip, const void *end)
{
	const __be32 *ports = (const void *)ip + ip->ihl * 4;

	if (!has_ports(ip->protocol) || ipv4_is_fragment(ip) || (const void *)(ports + 1) > end)
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
