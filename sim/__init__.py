"""The partition simulator: the production core in a virtual world. Imports the core, never the runtime."""
