"""Values of single requests, by round."""
