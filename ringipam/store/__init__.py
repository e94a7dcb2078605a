"""What a node remembers over restarts: SQLite in its data directory. Decides nothing."""
