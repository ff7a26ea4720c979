/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Geneve (RFC 8926) as we write and read it: header and options. */
#ifndef MIZAR_GENEVE_H
#define MIZAR_GENEVE_H

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include "address.h"
#include "exit.h"
#include "model.h"

struct geneve_header {
	__u8 version_length;  /* version: top 2 bits; options: low 6, in 4-byte words */
	__u8 flags;
	__be16 protocol;
	__be32 vni;           /* top 24 bits */
};
#define GENEVE_VERSION_MASK 0xc0
#define GENEVE_LENGTH_MASK 0x3f
#define GENEVE_CONTROL 0x80
#define GENEVE_ETHERNET bpf_htons(0x6558)
#define GENEVE_OPTIONS_MAX (GENEVE_LENGTH_MASK * 4)

/* In front of every inner frame that we send ... */
struct tunnel_header {
	struct iphdr ip;
	struct udphdr udp;
	struct geneve_header geneve;
	struct geneve_option identity_option;
	__be32 identity;
};

/* A control message's RETURNED has the same form. */
struct identity_part {
	struct geneve_option option;
	__be32 identity;
};
#define IDENTITY_PART_BYTES sizeof(struct identity_part)

/* ... and after it, on the way to a transit table's holder ... */
struct origin_part {
	struct geneve_option option;
	struct address host;
};

/* ... and in traced packets. */
struct trace_part {
	struct geneve_option option;
	__be32 trace;
};

#define OUTER_HEADERS \
	(sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct udphdr) + \
	 sizeof(struct geneve_header))

static __always_inline struct geneve_option option_of(__u8 type, __u32 body_bytes)
{
	return (struct geneve_option){
		.class = bpf_htons(GENEVE_OPTION_CLASS),
		.type = type,
		.length = body_bytes / 4,
	};
}

#endif
