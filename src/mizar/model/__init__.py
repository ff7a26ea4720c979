"""The resources users declare and the rules they obey: plain structs, pure functions, no I/O."""
