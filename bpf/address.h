/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Addresses: 16 bytes wide everywhere (IPv4-mapped), moved as four words; and MACs.
 *
 * model.h declares __u8 arrays for its codecs' sake; all of them lie on 4-byte
 * boundaries (MACs on 2), so ADDRESS() and the MAC functions need no byte loops.
 */
#ifndef MIZAR_ADDRESS_H
#define MIZAR_ADDRESS_H

#include <stdbool.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct address {
	__be32 word[4];
};
#define ADDRESS(bytes) ((struct address *)(bytes))
#define IPV4_MAPPED_WORD bpf_htonl(0xffff)
#define MAC_BYTES 6

static __always_inline void address_from_ipv4(struct address *to, __be32 ipv4)
{
	to->word[0] = 0;
	to->word[1] = 0;
	to->word[2] = IPV4_MAPPED_WORD;
	to->word[3] = ipv4;
}

static __always_inline __be32 address_ipv4(const struct address *from)
{
	return from->word[3];
}

static __always_inline bool address_equal(const struct address *a, const struct address *b)
{
	return !((a->word[0] ^ b->word[0]) | (a->word[1] ^ b->word[1]) |
		 (a->word[2] ^ b->word[2]) | (a->word[3] ^ b->word[3]));
}

static __always_inline bool address_is_zero(const struct address *a)
{
	return !(a->word[0] | a->word[1] | a->word[2] | a->word[3]);
}

static __always_inline bool address_in_subnet(const struct address *a,
					      const struct address *subnet,
					      const struct address *mask)
{
	__u32 differs = 0;

	for (int i = 0; i < 4; i++)
		differs |= (a->word[i] & mask->word[i]) ^ subnet->word[i];
	return !differs;
}

static __always_inline bool address_is_link_local(const struct address *a)
{
	return (a->word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* fe80:: with the modified EUI-64 of a MAC (RFC 4291, appendix A). */
static __always_inline void address_link_local(struct address *to, const __u8 *mac)
{
	to->word[0] = bpf_htonl(0xfe800000);
	to->word[1] = 0;
	to->word[2] = bpf_htonl((mac[0] ^ 2) << 24 | mac[1] << 16 | mac[2] << 8 | 0xff);
	to->word[3] = bpf_htonl(0xfe << 24 | mac[3] << 16 | mac[4] << 8 | mac[5]);
}

static __always_inline bool mac_equal(const void *a, const void *b)
{
	const __u16 *x = a, *y = b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]));
}

static __always_inline void mac_copy(void *to, const void *from)
{
	__u16 *x = to;
	const __u16 *y = from;

	x[0] = y[0];
	x[1] = y[1];
	x[2] = y[2];
}

#endif
