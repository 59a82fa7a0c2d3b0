"""Server processes of ours, each with a supervisor that ends it."""
