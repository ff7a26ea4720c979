"""Mizar: networking for containers and virtual machines, in XDP and eBPF."""

__version__ = "0.1.0"
