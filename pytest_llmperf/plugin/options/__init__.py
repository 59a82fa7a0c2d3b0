"""Options: one table, their parsers, and the ini file's values."""
