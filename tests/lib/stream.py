"""A small client of WS /v1/stream."""
import base64, json, os, select, socket, struct, time


class Stream:
    def __init__(self, port, path="/v1/stream"):
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.bytes = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self.connection.sendall((f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
        while b"\r\n\r\n" not in self.bytes:
            self._more(20)
        head, self.bytes = self.bytes.split(b"\r\n\r\n", 1)
        if not head.startswith(b"HTTP/1.1 101 "):
            raise AssertionError(f"no websocket: {head!r}")

    def send(self, message):
        text = json.dumps(message).encode()
        head = bytes([0x81]) + (bytes([0x80 | len(text)]) if len(text) < 126 else bytes([0xfe]) + struct.pack(">H", len(text)))
        self.connection.sendall(head + bytes(4) + text)  # masked with zeroes

    def next(self, timeout=10):
        """The next message that is no heartbeat; None: none within the time."""
        end = time.monotonic() + timeout
        while True:
            message = self._frame()
            if message is not None and message["type"] != "heartbeat":
                return message
            if message is None and not self._more(end - time.monotonic()):
                return None

    def until(self, wanted, timeout=10):
        """The first message for which wanted(message) is true."""
        end = time.monotonic() + timeout
        while (message := self.next(end - time.monotonic())) is not None:
            if wanted(message):
                return message
        raise AssertionError("the message did not come")

    def close(self):
        self.connection.close()

    def _more(self, timeout):
        if timeout <= 0 or not select.select([self.connection], [], [], timeout)[0]:
            return False
        piece = self.connection.recv(1 << 16)
        if not piece:
            raise AssertionError("the stream has ended")
        self.bytes += piece
        return True

    def _frame(self):
        """A whole text that has come; others are passed over. None: there is none yet."""
        while len(self.bytes) >= 2:
            at, size = 2, self.bytes[1] & 127
            if size >= 126:
                width = 2 if size == 126 else 8
                at, size = 2 + width, int.from_bytes(self.bytes[2:2 + width].ljust(width, b"\xff"), "big")
            if len(self.bytes) < at + size:
                return None
            kind, text, self.bytes = self.bytes[0], self.bytes[at:at + size], self.bytes[at + size:]
            if kind == 0x81:
                return json.loads(text)
        return None
