"""Instances and their life: attached, Ollama, embedded or simulated; and the API application with its engines."""
