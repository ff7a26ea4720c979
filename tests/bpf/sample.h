/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
#ifndef SAMPLE_H
#define SAMPLE_H

#include <linux/types.h>

enum verdict { VERDICT_PASS, VERDICT_DROP = 3, VERDICTS };

struct sample_key {
	__u32 vni;
	__u8 address[16];
};

struct sample_value {
	__u8 host[16];
	__u32 generation;
	__u32 identity;
};

struct sample_prefix {
	__u32 bits;
	__u8 address[4];
};

struct sample_wire {
	__be16 class;
	__u8 type;
	__u8 length;
	__be32 identity;
	__be64 generation;
};

struct sample_mixed {
	__u32 host_order;
	__be32 wire_order;
	__s64 offset;
	__be16 port;
	__u8 mac[6];
};

struct sample_padded {
	__u16 kind;
	__u32 number;
};

struct sample_tail {
	__u32 number;
	__u16 kind;
};

struct sample_bits {
	__u32 low : 4;
	__u32 high : 28;
};

struct sample_nested {
	struct sample_key key;
};

struct sample_count {
	__u64 packets;
	__u64 bytes;
};

/* Code in a header: its line numbers name the header's path. */
static inline void sample_add(struct sample_count *count, __u64 bytes)
{
	count->packets++;
	count->bytes += bytes;
}

#endif
