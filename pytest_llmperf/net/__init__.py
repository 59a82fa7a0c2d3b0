"""HTTP requests that are not timed, what servers refuse with, and who owns a port."""
