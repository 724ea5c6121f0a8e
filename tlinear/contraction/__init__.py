"""Contracting a network of operands: what (network), how (plan), and doing it (execute)."""
