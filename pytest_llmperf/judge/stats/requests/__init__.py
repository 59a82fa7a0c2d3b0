"""Statistics of requests, which are not independent of the others in their round."""
