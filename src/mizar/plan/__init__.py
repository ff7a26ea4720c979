"""From resources to table entries, purely: what each host must hold, and the deltas between."""
