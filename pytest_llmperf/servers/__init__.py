"""Server instances: attached, Ollama, embedded or simulated; and the emulator, our own server with its engines."""
