"""Loading BPF objects with libbpf: specs without privileges, maps, programs, links, pins."""
