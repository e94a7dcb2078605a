"""The ring of tokens and the free space inside it. Knows nothing of leases, messages or time."""
