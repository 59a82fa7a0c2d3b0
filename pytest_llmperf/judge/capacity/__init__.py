"""How many agents servers carry: limits of single requests, and the search for the largest number."""
