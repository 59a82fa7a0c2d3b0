"""A disk that is full: the system itself refuses to let files grow."""

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def full(*, most_bytes: int) -> Iterator[None]:
    """Limits the size of every file that this process writes to `most_bytes`; larger writes raise OSError."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))
