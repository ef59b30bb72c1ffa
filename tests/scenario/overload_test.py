"""More than the server takes, twice and ten times as much: each request is answered with 200, or with 429 or 503 and when to
come again; what was answered 200 is in the log once and nothing else is; what gets through stays near the most that ever
does; and once it is over, the next client is served at once."""
import os, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from load import Load
from wick import Report, Server, arguments, must, price_event

options = arguments("overload")
report = Report()
CLIENTS = 16
START = int(time.time() * 1000) - 3600_000


class Offered:
    """Requests of `events` events each, all different, for some seconds; keeps what became of them."""

    def __init__(self, server, events, padding=0):
        self.server, self.events, self.padding = server, events, padding
        self.sent, self.accepted, self.answers, self.wrong = 0, [], {}, []
        self.until = self.good = 0

    def request(self, number):
        lines = "\n".join(price_event("L", START + number * self.events + i, f"{number}.{i + 1:03}1") for i in range(self.events))
        body = (lines + "\n" * self.padding).encode()
        return b"POST /v1/prices HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    def next(self):
        if time.monotonic() > self.until:
            return None
        self.sent += 1
        return self.sent, self.request(self.sent)

    def ended(self, number, status, head, body):
        self.answers[status] = self.answers.get(status, 0) + 1
        if status == 200:
            self.good += 1
            self.accepted.append(number)
            if body != b'{"accepted":%d,"duplicate":0,"invalid":[]}' % self.events:
                self.wrong.append((number, body))
        elif status not in (429, 503) or "Retry-After: " not in head:
            self.wrong.append((number, status, head, body[:200]))

    def run(self, clients, seconds):
        """Answers of 200 a second."""
        self.good, began = 0, time.monotonic()
        self.until = began + seconds
        Load(self.server.port, self.next, self.ended).run(clients, seconds + 20)
        return self.good / (time.monotonic() - began)

    def check(self):
        assert not self.wrong, f"{len(self.wrong)} answers, the first: {self.wrong[0]}"
        status, body = self.server.request("POST", "/v1/prices", price_event("AFTER", START, "1"))
        assert status == 200, f"afterwards: {status} {body}"
        values = [line for line in must(options.wick, "topic", "read", "prices", "--values", data=self.server.data).splitlines() if b'"L"' in line]
        wanted = {price for n in self.accepted for price in (f"{n}.{i + 1:03}1" for i in range(self.events))}
        found = [line.split(b'"price":"')[1].split(b'"')[0].decode() for line in values]
        assert len(found) == len(set(found)), "an event is in the log twice"
        assert set(found) == wanted, f"{len(wanted - set(found))} are lost, {len(set(found) - wanted)} were refused and are there"
        assert self.server.json("/v1/ledger")["balanced"]


def serve(name, settings):
    folder = os.path.join(options.scratch, name)
    config = folder + ".yaml"
    with open(config, "w") as file:
        file.write("http:\n" + "".join(f"  {key}: {value}\n" for key, value in settings.items()))
    server = Server(options.wick, folder, config)
    server.wait_ready()
    return server


def connections():
    server = serve("connections", {"connections": CLIENTS})
    try:
        offered = Offered(server, 20)
        offered.run(CLIENTS, 0.3)
        best = {1: 0, 2: 0, 10: 0}
        for turn in range(8):  # what else the machine does must not decide
            for times in best:
                best[times] = max(best[times], offered.run(CLIENTS * times, 0.4))
            if turn > 0 and min(best[2], best[10]) > 0.2 * best[1]:
                break
        offered.check()
        assert offered.answers.get(503, 0) > 0, offered.answers
        print(f"requests a second: {best[1]:.0f} at the limit, {best[2]:.0f} and {best[10]:.0f} at twice and ten times; {offered.answers}")
        assert min(best[2], best[10]) > 0.2 * best[1], best  # the clients take their share of the machine
    finally:
        server.stop()


def bodies():
    """Ten times as many bytes at once as may be held."""
    server = serve("bodies", {"memory": "2MiB"})
    try:
        offered = Offered(server, 20, padding=250_000)
        offered.run(80, 1)
        offered.check()
        assert offered.answers.get(503, 0) > 0 and offered.answers.get(200, 0) > 0, offered.answers
        print(f"bodies: {offered.answers}")
    finally:
        server.stop()


def rate():
    """Ten times as many requests a second as one address may send: as many are taken as may be."""
    server = serve("rate", {"address_requests": 100})
    try:
        offered = Offered(server, 1)
        offered.run(CLIENTS, 2.2)
        assert offered.answers.get(429, 0) > 0, offered.answers
        assert 150 <= offered.answers[200] <= 400, offered.answers
        print(f"rate: {offered.answers}")
        deadline = time.monotonic() + 10
        while server.get("/v1/status")[0] == 429 and time.monotonic() < deadline:
            time.sleep(0.05)
        offered.check()
    finally:
        server.stop()


for case in (connections, bodies, rate):
    report.case(case.__name__, case)
sys.exit(report.done())
