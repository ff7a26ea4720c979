/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Geneve (RFC 8926) as we write and read it: header, options, and their rules. */
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
#define OPTION_CRITICAL 0x80
#define OPTION_LENGTH_MASK 0x1f

/* In front of every inner frame that we send ... */
struct tunnel_header {
	struct iphdr ip;
	struct udphdr udp;
	struct geneve_header geneve;
	struct geneve_option identity_option;
	__be32 identity;
};

#define IDENTITY_PART_BYTES (sizeof(struct geneve_option) + sizeof(__be32))

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

/* What the options say. */
struct options {
	__u32 identity;
	struct address origin;
	bool has_origin;
	struct hint_option *hint;  /* in the packet */
};

static __always_inline int option_read(struct geneve_option *option, __u32 body_bytes, void *end,
				       struct options *found)
{
	void *body = option + 1;

	if (option->class != bpf_htons(GENEVE_OPTION_CLASS))
		return option->type & OPTION_CRITICAL ? REASON_CRITICAL_OPTION : GO_ON;
	switch (option->type) {
	case OPTION_IDENTITY:
		if (body_bytes != sizeof(__be32) || body + sizeof(__be32) > end)
			return REASON_GENEVE_INVALID;
		found->identity = bpf_ntohl(*(__be32 *)body);
		return GO_ON;
	case OPTION_ORIGIN:
		if (body_bytes != sizeof(struct address) || body + sizeof(struct address) > end)
			return REASON_GENEVE_INVALID;
		found->origin = *(struct address *)body;
		found->has_origin = true;
		return GO_ON;
	case OPTION_HINT:
		if (body_bytes != sizeof(struct hint_option) ||
		    body + sizeof(struct hint_option) > end)
			return REASON_GENEVE_INVALID;
		found->hint = body;
		return GO_ON;
	default:
		return option->type & OPTION_CRITICAL ? REASON_CRITICAL_OPTION : GO_ON;
	}
}

/* Walks `bytes` of options; the caller checked that they are in the packet. */
static __always_inline int options_read(void *options, __u32 bytes, void *end,
					struct options *found)
{
	__u32 at = 0;

	for (int i = 0; i < LIMIT_GENEVE_OPTIONS; i++) {
		struct geneve_option *option = options + at;
		__u32 body_bytes;
		int left;

		if (at >= bytes)
			break;
		if (at > GENEVE_OPTIONS_MAX || (void *)(option + 1) > end)
			return REASON_TRUNCATED;
		body_bytes = (option->length & OPTION_LENGTH_MASK) * 4;
		at += sizeof(*option) + body_bytes;
		/* Also said below; said here, the verifier has a tenth of the work. */
		if (at > bytes)
			return REASON_GENEVE_INVALID;
		left = option_read(option, body_bytes, end, found);
		if (left != GO_ON)
			return left;
	}
	return at == bytes ? GO_ON : REASON_GENEVE_INVALID;
}

#endif
