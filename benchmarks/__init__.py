"""What ringipam costs, beside what the machine itself costs, in one run. Never part of the tests."""
