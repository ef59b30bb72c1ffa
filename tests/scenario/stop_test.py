"""SIGTERM while 32 clients write: every request that was sent before it is answered, every 200 is there once after the next
start, and the program ends with 0."""
import http.client, json, os, signal, sys, threading, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from oracle import Oracle
from wick import Report, Server, arguments, price_event

options = arguments("SIGTERM under load")
report = Report()
CLIENTS, EVENTS, ROUNDS = 32, 5, 20 if options.long else 4
START = int(time.time() * 1000) // 86400_000 * 86400_000 - 20 * 86400_000
data, config = os.path.join(options.scratch, "data"), os.path.join(options.scratch, "wick.yaml")
with open(config, "w") as file:
    file.write("log: {segment: 1MiB}\ncheckpoint: {every: 50ms}\n")
acknowledged, in_doubt = [], []
answers = {}
lock = threading.Lock()


class Client(threading.Thread):
    """Writes on one connection until it ends; the last request is remembered with the time at which it was sent."""

    def __init__(self, round_number, number, port):
        super().__init__()
        self.name_of, self.port, self.counter = f"R{round_number}C{number}", port, 0
        self.acknowledged, self.in_doubt, self.statuses = [], [], []
        self.sent_at, self.unanswered = None, False

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        while True:
            self.counter += 1
            lines = [price_event(self.name_of, START + (self.counter * EVENTS + i) * 100, f"{i}.{self.counter:06d}1")
                     for i in range(EVENTS)]
            self.sent_at = None
            try:
                connection.request("POST", "/v1/prices", "\n".join(lines))
                self.sent_at = time.monotonic()
                answer = connection.getresponse()
                said = json.loads(answer.read())
            except (OSError, http.client.HTTPException):
                self.in_doubt += lines
                self.unanswered = True
                return
            self.statuses.append(answer.status)
            if answer.status != 200:
                self.in_doubt += lines
                return
            assert said["accepted"] == EVENTS, said
            self.acknowledged += lines


def one_round(number):
    server = Server(options.wick, data, config)
    server.wait_ready()
    clients = [Client(number, i, server.port) for i in range(CLIENTS)]
    for client in clients:
        client.start()
    end = time.monotonic() + 20
    while time.monotonic() < end and any(len(client.acknowledged) < 10 * EVENTS for client in clients):
        time.sleep(0.01)
    stopped_at = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    code = server.process.wait(30)
    for client in clients:
        client.join(30)
        assert not client.is_alive(), "a client still waits"
    for client in clients:
        acknowledged.extend(client.acknowledged)
        in_doubt.extend(client.in_doubt)
        for status in client.statuses:
            answers[status] = answers.get(status, 0) + 1
    dropped = [c for c in clients if c.unanswered and c.sent_at is not None and c.sent_at < stopped_at]
    assert code == 0, f"exit {code}: {server.said[-3:]}"
    assert all(len(client.acknowledged) >= 10 * EVENTS for client in clients), "too little load"
    assert not dropped, f"{len(dropped)} of {CLIENTS} requests sent before SIGTERM have no answer"


def everything_is_there_once():
    server = Server(options.wick, data, config)
    server.wait_ready()
    problems = Oracle().compare(options.wick, server, acknowledged, in_doubt)
    assert server.stop() == 0
    assert not problems, "; ".join(problems[:5])


for number in range(ROUNDS):
    report.case(f"round-{number + 1}", one_round, number)
report.case("everything-is-there-once", everything_is_there_once)
print(f"{len(acknowledged)} events acknowledged, {len(in_doubt)} in doubt, answers {answers}")
sys.exit(report.done())
