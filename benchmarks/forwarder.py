"""A forwarder of ten lines: what it costs a chunk to pass any process at all.

    python -m benchmarks.forwarder PORT

Prints its port, and forwards each connection to PORT on this machine until it is killed; as promptly as the tap may.
"""

import selectors
import socket
import sys

from pytest_llmperf.measure.tap.scheduling_priority import be_prompt


def main() -> None:
    """Serves for ever."""
    be_prompt()
    selector, listener = selectors.DefaultSelector(), socket.create_server(("127.0.0.1", 0), backlog=512)
    selector.register(listener, selectors.EVENT_READ)
    print(listener.getsockname()[1], flush=True)
    while True:
        for key, _ in selector.select():
            source = key.fileobj
            assert isinstance(source, socket.socket)
            if source is listener:
                pair = listener.accept()[0], socket.create_connection(("127.0.0.1", int(sys.argv[1])))
                for sock, peer in (pair, pair[::-1]):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(sock, selectors.EVENT_READ, peer)
            elif data := source.recv(16384):
                key.data.sendall(data)
            else:
                for sock in (source, key.data):
                    selector.unregister(sock)
                    sock.close()


if __name__ == "__main__":
    main()
