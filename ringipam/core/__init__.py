"""The protocol: a plain state machine, `Peer.step(event, now) -> effects`. No I/O, no clock, no randomness."""
