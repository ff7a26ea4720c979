/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The IPv4 header's checksum: whole (RFC 1071) and by difference (RFC 1624). */
#ifndef MIZAR_CHECKSUM_H
#define MIZAR_CHECKSUM_H

#include <linux/ip.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

static __always_inline __u16 checksum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Sum of a header without options: 0xffff when its checksum is right. */
static __always_inline __u16 ipv4_sum(const struct iphdr *ip)
{
	const __u16 *half = (const void *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += half[i];
	return checksum_fold(sum);
}

static __always_inline void ipv4_checksum_set(struct iphdr *ip)
{
	ip->check = 0;
	ip->check = ~ipv4_sum(ip);
}

/* RFC 1624, equation 3: a 16-bit word went from `before` to `after`, all as on the wire. */
static __always_inline __u16 checksum_changed(__u16 check, __u16 before, __u16 after)
{
	return ~checksum_fold((__u16)~check + (__u16)~before + after);
}

static __always_inline void ipv4_checksum_change(struct iphdr *ip, __u16 before, __u16 after)
{
	ip->check = checksum_changed(ip->check, before, after);
}

static __always_inline void ipv4_ttl_decrement(struct iphdr *ip)
{
	__u16 *word = (void *)&ip->ttl;
	__u16 before = *word;

	ip->ttl--;
	ipv4_checksum_change(ip, before, *word);
}

static __always_inline void ipv4_tos_set(struct iphdr *ip, __u8 tos)
{
	__u16 *word = (void *)ip;
	__u16 before = *word;

	ip->tos = tos;
	ipv4_checksum_change(ip, before, *word);
}

#endif
