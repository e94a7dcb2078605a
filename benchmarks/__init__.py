"""What ringipam takes, beside what the machine and the rivals take: `python -m benchmarks`, and a few on their own."""
