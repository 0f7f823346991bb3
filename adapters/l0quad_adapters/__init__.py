"""Thin adapters between other libraries and l0quad, one module and one optional extra each."""
