/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The maps, shared by all programs of a host; layouts and meaning are in model.h.
 *
 * The sizes here are upper limits: user space may create a map smaller, or with
 * one entry where the host doesn't have the role. Only the caches (locations,
 * error_budgets, next_hops, accepted_sources) evict.
 */
#ifndef MIZAR_MAPS_H
#define MIZAR_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "model.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct host_config);
} host_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, LIMIT_UNDERLAY_PREFIXES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct underlay_key);
	__type(value, __u32);
} underlay_prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LIMIT_PORTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct port);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LIMIT_LOCAL_ADDRESSES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct endpoint_key);
	__type(value, struct local_endpoint);
} local SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, LIMIT_ROUTES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_key);
	__type(value, struct transit_set);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, LIMIT_SWITCH_NETWORKS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_key);
	__type(value, struct switch_network);
} switch_networks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LIMIT_SWITCH_ENDPOINTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct endpoint_key);
	__type(value, struct switch_endpoint);
} switch_endpoints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, LIMIT_ROUTER_NETWORKS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_key);
	__type(value, struct transit_set);
} router_networks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, LIMIT_LOCATIONS);
	__type(key, struct endpoint_key);
	__type(value, struct location);
} locations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LIMIT_MOVED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct endpoint_key);
	__type(value, struct moved);
} moved SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LIMIT_SILENT_HOLDERS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct host_key);
	__type(value, __u64); /* ns, by clock_ns() */
} silent_holders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, LIMIT_ERROR_BUDGETS);
	__type(key, __u32);
	__type(value, struct error_budget);
} error_budgets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LIMIT_DROPS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct drop_key);
	__type(value, struct drop);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LIMIT_TRACE_FILTERS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct trace_filter);
} trace_filters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LIMIT_NEXT_HOPS);
	__type(key, __u32);
	__type(value, struct next_hop);
} next_hops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LIMIT_ACCEPTED_SOURCES);
	__type(key, __u32);
	__type(value, struct accepted_source);
} accepted_sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct answer);
} answers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASON_COUNT);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, LIMIT_EVENTS_BYTES);
} events SEC(".maps");

/* Types of the model that no map holds: named here so that the object's BTF,
 * which user space reads, has them. The section is never loaded. */
struct model_types {
	enum reason reason;
	enum limit limit;
	enum transit_kind transit_kind;
	enum interface_kind interface_kind;
	enum event_type event_type;
	enum program program;
	enum returned returned;
	enum geneve_option_type geneve_option_type;
	struct handover handover;
	struct trace_event trace_event;
	struct geneve_option geneve_option;
	struct hint_option hint_option;
	struct probe_option probe_option;
};
const struct model_types model_types SEC(".model_types") = {};

/* Always there: an array of one. Not configured: uplink_ifindex is 0. */
static __always_inline struct host_config *configuration(void)
{
	__u32 only = 0;

	return bpf_map_lookup_elem(&host_config, &only);
}

/* skb->tc_index of what a program of this host has sent: a drop of it after that is LOST.
 * A host's own, for between namespaces of one machine the field stays as it is. */
static __always_inline __u16 sent_mark(const struct host_config *config)
{
	__u16 mark = config->netns;

	return mark ? mark : 1;
}

static __always_inline __u64 clock_ns(const struct host_config *config)
{
	return config->test_clock_ns ? config->test_clock_ns : bpf_ktime_get_coarse_ns();
}

#endif
