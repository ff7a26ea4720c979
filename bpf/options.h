/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Reading Geneve options: their rules, and what they say. */
#ifndef MIZAR_OPTIONS_H
#define MIZAR_OPTIONS_H

#include "geneve.h"

#define GENEVE_OPTIONS_MASK 0xff /* offsets within the options, for the verifier */
#define OPTION_CRITICAL 0x80
#define OPTION_LENGTH_MASK 0x1f

/* What the options say; of several of a kind, the last, but of control options the first. */
struct options {
	__u32 identity;
	__u32 trace;
	__u16 origin_at;   /* its body, from the start of the options; 0: no ORIGIN */
	__u16 control_at;  /* ... of the first control option */
	__u8 control;      /* its type; 0: none */
};

/* Body lengths of the control options. */
static __always_inline __u32 control_bytes(__u8 type)
{
	if (type == OPTION_HINT)
		return sizeof(struct hint_option);
	if (type == OPTION_PROBE || type == OPTION_ECHO)
		return sizeof(struct probe_option);
	return type == OPTION_RETURNED ? sizeof(__be32) : 0;
}

static __always_inline int option_read(struct geneve_option *option, __u32 at, __u32 body_bytes,
				       void *end, struct options *found)
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
		if (body_bytes != sizeof(struct address))
			return REASON_GENEVE_INVALID;
		found->origin_at = at + sizeof(*option);
		return GO_ON;
	case OPTION_TRACE:
		if (body_bytes != sizeof(__be32) || body + sizeof(__be32) > end)
			return REASON_GENEVE_INVALID;
		found->trace = bpf_ntohl(*(__be32 *)body);
		return GO_ON;
	case OPTION_HINT:
	case OPTION_LOOKUP:
	case OPTION_ASK:
	case OPTION_RETURNED:
	case OPTION_PROBE:
	case OPTION_ECHO:
		if (body_bytes != control_bytes(option->type))
			return REASON_GENEVE_INVALID;
		if (!found->control) {
			found->control = option->type;
			found->control_at = at + sizeof(*option);
		}
		return GO_ON;
	default:
		return option->type & OPTION_CRITICAL ? REASON_CRITICAL_OPTION : GO_ON;
	}
}

/* Walks `bytes` of options; the caller checked that they are in the packet. */
static __noinline int options_walk(void *options, __u32 bytes, void *end,
					struct options *found)
{
	__u32 at = 0;

	for (int i = 0; i < LIMIT_GENEVE_OPTIONS; i++) {
		struct geneve_option *option = options + at;
		__u32 start = at, body_bytes;
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
		left = option_read(option, start, body_bytes, end, found);
		if (left != GO_ON)
			return left;
	}
	return at == bytes ? GO_ON : REASON_GENEVE_INVALID;
}

static __always_inline bool option_is(const struct geneve_option *option, __u8 type, __u32 bytes)
{
	struct geneve_option expected = option_of(type, bytes);

	return *(const __u32 *)option == *(const __u32 *)&expected;
}

/* As our own senders write data: IDENTITY, and ORIGIN after it or not; else a walk. A call
 * costs as much as half of all reading. */
static __always_inline int options_read(void *options, __u32 bytes, void *end,
					struct options *found)
{
	struct identity_part *identity = options;
	struct origin_part *origin = (void *)(identity + 1);

	if ((void *)(origin + 1) > end || !option_is(&identity->option, OPTION_IDENTITY, 4))
		return options_walk(options, bytes, end, found);
	found->identity = bpf_ntohl(identity->identity);
	if (bytes == sizeof(*identity))
		return GO_ON;
	if (bytes != sizeof(*identity) + sizeof(*origin) ||
	    !option_is(&origin->option, OPTION_ORIGIN, 16))
		return options_walk(options, bytes, end, found);
	found->origin_at = sizeof(*identity) + sizeof(origin->option);
	return GO_ON;
}

#endif
