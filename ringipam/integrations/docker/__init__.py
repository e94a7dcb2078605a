"""Docker's remote IPAM driver: networks made with `--ipam-driver ringipam` get addresses here (docs/docker.md)."""
