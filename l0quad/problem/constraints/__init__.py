"""Which supports are allowed, one kind of constraint a file."""
