/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* A packet that becomes a shorter or longer one of our own making. */
#ifndef MIZAR_RESIZE_H
#define MIZAR_RESIZE_H

#include "parse.h"

/* More than lies between a frame's start and the checksum of any packet we read. */
#define SETTLE_BYTES 256

/* Makes the frame `bytes` long, nothing of which is kept but the Ethernet header; false: the
 * kernel won't. Pointers into the packet are void after this.
 *
 * Nor are offloads kept. A checksum left to the hardware would be written into what the
 * packet has become; the kernel forgets it when its place is cut off, so the packet is
 * made longer behind and cut in front. A workload's own tunnel can't be made longer, only
 * cut, and a GSO packet of one not even that. */
static __always_inline bool resize(struct __sk_buff *skb, __u32 bytes)
{
	if (bpf_skb_change_tail(skb, bytes + SETTLE_BYTES, 0) && skb->gso_size)
		return false;
	return !bpf_skb_adjust_room(skb, (__s32)(bytes - skb->len), BPF_ADJ_ROOM_MAC, 0);
}

/* Puts another frame in the packet's place; false: the kernel won't. */
static __always_inline bool frame_replace(struct __sk_buff *skb, const void *frame, __u32 bytes)
{
	return resize(skb, bytes) && !bpf_skb_store_bytes(skb, 0, frame, bytes, 0);
}

#endif
