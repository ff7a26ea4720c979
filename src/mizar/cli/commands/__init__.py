"""One module a command, named like it, with the click command as ``command``."""
