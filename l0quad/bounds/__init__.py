"""Lower bounds on the optimum, one kind a file; `bound` chooses among them."""
