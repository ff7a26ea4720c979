"""REST client of the server, over TCP or a Unix socket, for the CLI, the lab and benches."""
