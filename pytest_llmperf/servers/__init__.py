"""Server instances (attached, Ollama, embedded, simulated), and the emulator: the plugin's own server and engines."""
