"""HTTP requests that are not timed, the errors that servers answer, and which process owns a port."""
