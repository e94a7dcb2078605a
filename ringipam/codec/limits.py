"""The most of anything that a message may hold, and so part of the protocol: whoever sends more is refused."""

FRAME_BYTES_MAX = 4 << 20

ADDRESS_MAX = 1 << 128
"""Inclusive, as the end of a range may lie behind the last address."""
COUNT_MAX = 1 << 62
"""Of what only ever rises: versions, incarnations, sequence numbers, times."""
RANDOM_MAX = (1 << 63) - 1
PROTOCOL_MAX = (1 << 16) - 1
HOPS_MAX = 64
ELECTORS_MAX = 1_000
SECONDS_MAX = 253_402_300_799
"""The last second of the year 9999, the last that `datetime` knows."""

CLUSTER_LENGTH_MAX = 64
UNIVERSE_LENGTH_MAX = 64
ENDPOINT_LENGTH_MAX = 300
LEASE_LENGTH_MAX = 64
WORD_LENGTH_MAX = 64
REASON_LENGTH_MAX = 2_000
"""Longer ones are cut by the sender: they are prose."""
DIGEST_BYTES_MAX = 32
PRINT_BYTES = 4
"""Of each fingerprint where there are many."""

SEGMENTS_MAX = 20_000
MEMBERS_MAX = 2_000
RUMOURS_MAX = 10_000
PRINTS_MAX = 1_000
LEASES_MAX = 2_000
PEERS_MAX = 20_000
EXTRAS_MAX = 64
"""How many elements a newer peer may add to an array."""
