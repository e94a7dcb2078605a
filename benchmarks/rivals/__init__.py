"""What a user would pick instead of ringipam, as far as it is installed here."""
