/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The checksum that a workload leaves to the hardware, and where it wants that written.
 *
 * The place is the workload's word (virtio_net_hdr, of a guest's driver or a raw socket), and
 * it is written to when all checks are done: in an address, it would make that another's. */
#ifndef MIZAR_OFFLOAD_H
#define MIZAR_OFFLOAD_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "parse.h"

#define CHECKSUM_PARTIAL 3 /* linux/skbuff.h */

/* What is read of the kernel's own; where the fields lie is found when the program is loaded. */
struct sk_buff {
	__u8 ip_summed : 2;
	__u16 csum_start;      /* from the start of the buffer, as is the header */
	__u16 csum_offset;
	__u16 network_header;
} __attribute__((preserve_access_index));

/* Since Linux 6.2. */
extern void *bpf_cast_to_kern_ctx(void *context) __ksym __weak;

/* Is a checksum still to be written over what was judged: the IP header, those behind it, ports,
 * an ICMPv6 message's type and code? Where the kernel can't say: no. */
static __always_inline bool checksum_misplaced(struct __sk_buff *context,
					       const struct transport *transport)
{
	__u32 judged = transport->searched + (transport->protocol == IPPROTO_ICMPV6 ? 2 : 4);
	struct sk_buff *skb;

	if (!bpf_cast_to_kern_ctx)
		return false;
	skb = bpf_cast_to_kern_ctx(context);
	return BPF_CORE_READ_BITFIELD(skb, ip_summed) == CHECKSUM_PARTIAL &&
	       (__u32)skb->csum_start + skb->csum_offset < skb->network_header + judged;
}

#endif
