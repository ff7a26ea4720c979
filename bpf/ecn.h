/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Congestion marks across the tunnel, RFC 6040 in normal mode. */
#ifndef MIZAR_ECN_H
#define MIZAR_ECN_H

#include "checksum.h"
#include "exit.h"

#define ECN_MASK 3
enum ecn { ECN_NOT_ECT = 0, ECN_ECT1 = 1, ECN_ECT0 = 2, ECN_CE = 3 };

/* The outer TOS. The DSCP stays zero: tenants don't choose the underlay's classes. */
static __always_inline __u8 ecn_outer(__u8 inner_tos)
{
	return inner_tos & ECN_MASK;
}

/* The traffic class lies across the first two bytes, after the version (RFC 8200). */
static __always_inline __u8 ecn_of(const struct iphdr *ip)
{
	return (ip->version == 6 ? ip->tos >> 4 : ip->tos) & ECN_MASK;
}

static __always_inline void ecn_set(struct iphdr *ip, __u8 mark)
{
	if (ip->version == 6)
		ip->tos = (ip->tos & ~(ECN_MASK << 4)) | mark << 4;
	else
		ipv4_tos_set(ip, (ip->tos & ~ECN_MASK) | mark);
}

/* Combines the outer mark into the inner header (RFC 6040, figure 4), IPv4 or IPv6. */
static __always_inline int ecn_combine(struct iphdr *inner, __u8 outer_tos)
{
	__u8 outer = outer_tos & ECN_MASK;
	__u8 mark = ecn_of(inner);

	if (outer == ECN_CE && mark == ECN_NOT_ECT)
		return REASON_ECN_LOST;
	if ((outer == ECN_CE && mark != ECN_CE) || (outer == ECN_ECT1 && mark == ECN_ECT0))
		ecn_set(inner, outer);
	return GO_ON;
}

#endif
