"""The daemon's HTTP surface: JSON under /v1/, weave's paths, Prometheus, over the unix socket and loopback TCP."""
