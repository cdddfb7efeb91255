"""The cheapest server there is: whatever comes is answered at once with the same bytes.

It parses nothing, so it serves only to show what the load generator can reach. Argument: port.
"""

import select
import socket
import sys

ANSWER = b'HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{"ok":true}'
RECEIVE_BYTES = 65_536
BACKLOG = 1_024


def serve(port: int) -> None:
    """Answer until the process is ended."""
    listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    poll = select.epoll()
    poll.register(listener.fileno(), select.EPOLLIN)
    connections: dict[int, socket.socket] = {}
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == listener.fileno():
                accepted, _ = listener.accept()
                connections[accepted.fileno()] = accepted
                poll.register(accepted.fileno(), select.EPOLLIN)
            elif connections[descriptor].recv(RECEIVE_BYTES):
                connections[descriptor].sendall(ANSWER)
            else:
                connections.pop(descriptor).close()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
