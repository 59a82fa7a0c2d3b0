"""What the tap hands over of what it noted."""

from pytest_llmperf.measure.tap.recording import Chunk, Stream, without_logins


def test_logins_are_not_kept() -> None:
    """In as many asterisks, wherever reads have cut the headers; bodies and all else stay as they are."""
    body = b'{"prompt": "authorization: x", "key": 1}'
    head = b"POST /api/chat HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer abc\r\nX-Api-Key:  abc\r\ncookie: a=b\r\n\r\n"
    shown = head.replace(b"Bearer abc", b"*" * 10).replace(b"  abc", b"  ***").replace(b"a=b", b"***")
    whole = head + body
    for size in (1, 7, 40, 1000):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        flow = without_logins(Stream(tuple(Chunk(at, (), piece, at) for at, piece in enumerate(pieces)), 9))
        assert b"".join(chunk.data for chunk in flow.chunks) == shown + body
        assert [(chunk.read_ns, len(chunk.data)) for chunk in flow.chunks] == [
            (at, len(piece)) for at, piece in enumerate(pieces)
        ]
    untouched = Stream((Chunk(1, (), body, 1),), 0)
    assert without_logins(untouched) is untouched
