"""Containers that got their addresses outside any driver: released when their engine says that they are gone."""
