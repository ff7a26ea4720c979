"""The daemon of one host: keeps the kernel equal to what the server's plan says."""
