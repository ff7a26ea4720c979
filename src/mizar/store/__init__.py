"""Where resources outlive the server: the port, and SQLite behind it."""
