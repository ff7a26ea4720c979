"""The kernel side of one host: rows from entries, programs and maps, links, namespaces."""
