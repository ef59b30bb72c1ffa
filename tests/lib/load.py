"""Many clients in one thread: each sends its requests one after the other over a connection of its own, and opens another one
where the server has closed it."""
import errno, re, selectors, socket, time


class Client:
    def __init__(self, load):
        self.load, self.connection, self.out, self.answer, self.token = load, None, b"", b"", None
        self.again = 0  # when it may ask again

    def begin(self):
        request = self.load.next()
        if request is None:
            return False
        self.token, self.out, self.answer = *request, b""
        if self.connection is None:
            self.connection = socket.socket()
            self.connection.setblocking(False)
            self.connection.connect_ex(("127.0.0.1", self.load.port))
            self.load.selector.register(self.connection, selectors.EVENT_READ | selectors.EVENT_WRITE, self)
        else:
            self.load.selector.modify(self.connection, selectors.EVENT_READ | selectors.EVENT_WRITE, self)
        return True

    def ready(self, events):
        try:
            if events & selectors.EVENT_WRITE and self.out:
                self.out = self.out[self.connection.send(self.out):]
                if not self.out:
                    self.load.selector.modify(self.connection, selectors.EVENT_READ, self)
            if events & selectors.EVENT_READ:
                piece = self.connection.recv(1 << 16)
                self.answer += piece
                if not piece:
                    return self.end("dropped")
        except BlockingIOError:
            return
        except OSError as error:
            return self.end("dropped") if error.errno != errno.EAGAIN else None
        head, found, body = self.answer.partition(b"\r\n\r\n")
        if found and len(body) >= int(re.search(rb"(?i)content-length: (\d+)", head).group(1)):
            self.end(head, body)

    def end(self, head, body=b""):
        if head == "dropped" or b"connection: close" in head.lower():
            self.close()
        else:
            self.load.selector.modify(self.connection, selectors.EVENT_READ, self)
        status = 0 if head == "dropped" else int(head.split()[1])
        self.load.ended(self.token, status, head if head == "dropped" else head.decode(), body)
        if status != 200:
            self.again = time.monotonic() + self.load.patience
            self.load.waiting.append(self)
        elif not self.begin():
            self.close()

    def close(self):
        if self.connection is not None:
            self.load.selector.unregister(self.connection)
            self.connection.close()
        self.connection = None


class Load:
    """next() gives (token, request bytes), or None at the end; ended(token, status, head, body) is told of each answer, status 0
    where the connection broke without one. Who is refused asks again after `patience` seconds."""

    def __init__(self, port, next, ended, patience=0.1):
        self.port, self.next, self.ended, self.patience = port, next, ended, patience
        self.selector, self.waiting = selectors.DefaultSelector(), []

    def run(self, clients, seconds=20):
        """Until every client has come to the end of next(); what is left after `seconds` more than that is a failure."""
        made = [Client(self) for _ in range(clients)]
        for client in made:
            client.begin()
        end = time.monotonic() + seconds
        while self.selector.get_map() or self.waiting:
            if time.monotonic() > end:
                raise AssertionError(f"{len(self.selector.get_map())} clients have no answer")
            for key, events in self.selector.select(0.02):
                key.data.ready(events)
            now = time.monotonic()
            due = [client for client in self.waiting if client.again <= now]
            self.waiting = [client for client in self.waiting if client.again > now]
            for client in due:
                if not client.begin():
                    client.close()
