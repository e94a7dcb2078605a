"""The CNI IPAM plugin: all of it but the program that runtimes execute, which passes on what it is given."""
