/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The flow hash and what is chosen by it. Our own, so that a model can compute it.
 *
 * All arithmetic is on unsigned 32-bit words, modulo 2^32; an address is four
 * words w0..w3, read big-endian, IPv4 as ::ffff:a.b.c.d.
 *
 *   mix(h)       h ^= h>>16; h *= 0x7feb352d; h ^= h>>15; h *= 0x846ca68b; h ^= h>>16
 *   fold(a)      ((w0 * P + w1) * P + w2) * P + w3,  P = 0x9e3779b1
 *   flow hash    h = mix(fold(source)); h = mix(h + fold(destination));
 *                h = mix(h + (source port << 16 | destination port)); h = mix(h + protocol)
 *                ports: of unfragmented TCP, UDP and SCTP, else 0
 *   source port  49152 + (flow hash & 0x3fff)
 *   holder       the one with the largest mix(source port ^ mix(fold(holder))),
 *                the first of equals (holder_choose in transit.h)
 *
 * Holders are chosen by the outer source port and not by the whole hash: so a
 * transit router needn't read the inner flow, and chooses as the sender would.
 */
#ifndef MIZAR_HASH_H
#define MIZAR_HASH_H

#include <linux/types.h>

#include "address.h"
#include "model.h"

#define FOLD_FACTOR 0x9e3779b1U
#define SOURCE_PORT_MASK 0x3fff

static __always_inline __u32 hash_mix(__u32 h)
{
	h ^= h >> 16;
	h *= 0x7feb352dU;
	h ^= h >> 15;
	h *= 0x846ca68bU;
	h ^= h >> 16;
	return h;
}

static __always_inline __u32 hash_fold(const struct address *a)
{
	__u32 h = bpf_ntohl(a->word[0]);

	h = h * FOLD_FACTOR + bpf_ntohl(a->word[1]);
	h = h * FOLD_FACTOR + bpf_ntohl(a->word[2]);
	return h * FOLD_FACTOR + bpf_ntohl(a->word[3]);
}

static __always_inline __u32 flow_hash(const struct address *source,
				       const struct address *destination,
				       __u32 ports, __u8 protocol)
{
	__u32 h = hash_mix(hash_fold(source));

	h = hash_mix(h + hash_fold(destination));
	h = hash_mix(h + ports);
	return hash_mix(h + protocol);
}

static __always_inline __u16 source_port(__u32 hash)
{
	return SOURCE_PORT_MIN + (hash & SOURCE_PORT_MASK);
}

#endif
