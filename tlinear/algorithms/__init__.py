"""Algorithms that factorize a dense tensor: plain arrays in, plain arrays out, one algorithm a file."""
