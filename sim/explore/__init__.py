"""Every interleaving of a small world of real peers."""
