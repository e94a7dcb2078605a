"""Container runtimes: what each of them says, in its own protocol, as verbs of a node."""
