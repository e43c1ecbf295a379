"""The derivative tables, one family a file, easy to hard."""

from minigrad.rules import elementwise, indexing, linear_algebra, reductions, shapes

__all__ = ["elementwise", "indexing", "linear_algebra", "reductions", "shapes"]
