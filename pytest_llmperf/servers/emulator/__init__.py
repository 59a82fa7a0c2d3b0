"""Our own server: the Ollama API over a real or a scripted engine."""
