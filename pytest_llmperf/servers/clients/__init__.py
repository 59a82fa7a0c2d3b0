"""Control requests to servers, by the API that they speak."""
