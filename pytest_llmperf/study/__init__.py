"""Experiments: a matrix of cells, measured one by one, written as rows, compared with what the report claims."""
