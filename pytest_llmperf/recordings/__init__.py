"""Recordings: what agents asked, as files that can be reviewed, edited and replayed; see docs/recordings.md."""
