"""Whole layers: one quadratic, many right-hand sides, under one budget. Arrays are m x d inside, a row an output."""
