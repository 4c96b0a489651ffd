"""What runs in the environments of others: the standard library, and the one package that each file is about."""
