"""What a runtime executes: one file, in C (compiled when the package is built) and in Python; how it is installed."""
