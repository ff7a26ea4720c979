"""A fleet on one machine: hosts, underlay and server in network namespaces.

It runs `mizar server` and `mizar agent` exactly as real machines do.
"""
