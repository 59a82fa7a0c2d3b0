"""One run of pytest, or a script: servers opened, scenarios measured, verdicts asked for."""
