"""The only storey with trio, sockets, threads and the clock: carries out what the core wants."""
