"""The parts of the Ollama API application: parsing, scheduling, answering."""
