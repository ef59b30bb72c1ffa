"""Few descriptors and many clients: accepting pauses without spinning, those who are in are served, segments roll and
checkpoints are made; with descriptors again, everybody is."""
import http.client, json, os, resource, socket, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from oracle import Oracle
from wick import Report, Server, arguments, price_event

options = arguments("few descriptors")
report = Report()
START = int(time.time() * 1000) // 86400_000 * 86400_000 - 20 * 86400_000
DESCRIPTORS, CLIENTS, SECONDS = 64, 200, 1
data, config = os.path.join(options.scratch, "data"), os.path.join(options.scratch, "wick.yaml")
with open(config, "w") as file:
    file.write("log: {segment: 1MiB}\ncheckpoint: {every: 50ms}\n")
server = Server(options.wick, data, config, limits={resource.RLIMIT_NOFILE: (DESCRIPTORS, DESCRIPTORS)})
acknowledged, counter = [], 0
clients = []


def lines(count):
    global counter
    first, counter = counter, counter + count
    return ["{" + " " * 5000 + price_event(f"F{n % 3}", START + n * 500, f"{n % 97}.{n:06d}1")[1:] for n in range(first, counter)]


def post(connection, count=60):
    body = lines(count)
    connection.request("POST", "/v1/prices", "\n".join(body))
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == 200 and json.loads(text)["accepted"] == count, (answer.status, text[:300])
    acknowledged.extend(body)


def segments():
    return len([name for name in os.listdir(os.path.join(data, "log", "prices-0")) if name.endswith(".log")])


def descriptors():
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def cpu_of(seconds):
    before = server.cpu_seconds()
    time.sleep(seconds)
    return server.cpu_seconds() - before


def is_starved():
    """More clients than descriptors; the inside ones stay."""
    idle = cpu_of(SECONDS)
    inside = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    post(inside, 1)
    for _ in range(CLIENTS):
        clients.append(socket.create_connection(("127.0.0.1", server.port), timeout=20))
    time.sleep(0.3)
    assert descriptors() <= DESCRIPTORS
    busy = cpu_of(SECONDS)
    # A spinning loop takes a whole core: some twenty times what is allowed here.
    print(f"{descriptors()} descriptors of {DESCRIPTORS}; CPU in {SECONDS} s: {idle:.2f} s idle, {busy:.2f} s with {CLIENTS} clients waiting")
    assert busy <= max(20 * idle, 0.05 * SECONDS), f"{busy} s of CPU in {SECONDS} s"
    some = clients[::4]
    answered = sum(is_answered(client) for client in some)
    assert answered < len(some), f"all of {len(some)} clients are answered: nothing is starved"
    return inside


def is_answered(client):
    client.settimeout(0.02)
    try:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return client.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def works_while_starved(inside):
    before = segments()
    for _ in range(8):
        post(inside)
    assert segments() >= before + 2, f"{segments()} segments, {before} before"
    end = time.monotonic() + 20
    while time.monotonic() < end:
        inside.request("GET", "/v1/status")
        tasks = json.loads(inside.getresponse().read())["tasks"]
        if all(task["checkpoint"] == task["end"] for task in tasks):
            return
        time.sleep(0.05)
    raise AssertionError(f"no checkpoint: {tasks}")


def service_returns():
    for client in clients:
        client.close()
    end, problem = time.monotonic() + 20, None
    while time.monotonic() < end:
        try:
            post(http.client.HTTPConnection("127.0.0.1", server.port, timeout=5), 1)
            break
        except OSError as error:
            problem = error
            time.sleep(0.1)
    else:
        raise AssertionError(f"no service: {problem}")
    problems = Oracle().compare(options.wick, server, acknowledged, [])
    assert not problems, "; ".join(problems[:5])


def main():
    server.wait_ready()
    inside = is_starved()
    report.check("accepting-pauses", True)
    report.case("rolls-and-checkpoints", works_while_starved, inside)
    report.case("service-returns", service_returns)
    report.check("stops-cleanly", server.stop() == 0)


try:
    main()
except Exception as error:
    report.check("descriptors", False, f"{type(error).__name__}: {error}")
    server.kill()
sys.exit(report.done())
