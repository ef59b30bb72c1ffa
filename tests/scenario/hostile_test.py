"""Slow, broken and many clients: the others are served as before, and memory stays bounded."""
import gzip, http.client, os, random, re, select, socket, subprocess, sys, threading, time, zlib

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from stream import Stream
from wick import Report, Server, arguments, price_event

options = arguments("hostile clients")
report = Report()
server = Server(options.wick, os.path.join(options.scratch, "data"))
server.wait_ready()
now = int(time.time() * 1000)
counter = 0


def connect():
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    return connection


def p99_ms(count=200):
    global counter
    times = []
    for _ in range(count):
        counter += 1
        started = time.perf_counter()
        status, body = server.request("POST", "/v1/prices", price_event("H", now - 60_000 + counter, f"{counter}.1"))
        times.append((time.perf_counter() - started) * 1000)
        assert status == 200, (status, body)
    return sorted(times)[int(count * 0.99)]


# A busy client's p99 beside the hostile ones, at its best of three rounds, against the worst of three rounds without them, a few
# seconds earlier in the same run. Beside a stall (a lock, a thread that waits for a slow peer) this factor is small; what the
# machine does otherwise is below it.
FACTOR, FLOOR_MS, ROUNDS = 10, 20, 3


def harm_of(what, still_there):
    """Fails if the busy client is harmed; `still_there` says after each round whether the hostile ones were."""
    busy = []
    for _ in range(ROUNDS):
        busy.append(p99_ms())
        still_there()
    limit = FACTOR * max(FLOOR_MS, *alone)
    print(f"p99 {min(alone):.1f} to {max(alone):.1f} ms alone, {min(busy):.1f} to {max(busy):.1f} ms beside {what}; at most {limit:.0f} ms")
    assert min(busy) <= limit, f"{busy} ms beside {what}, {alone} ms alone"


def connections():
    """As the server counts them."""
    status, text = server.get("/metrics")
    assert status == 200, status
    return int(float(re.search(rb"^wick_http_connections (\S+)", text, re.M).group(1)))


def is_open(connection):
    """Nothing has come and nobody has hung up."""
    return not select.select([connection], [], [], 0)[0]


def answer_to(raw, wait=12):
    """What the server says to raw bytes: the status of the one, whole answer; None if it just closes, "nothing" if it does neither."""
    connection = connect()
    connection.settimeout(wait)
    text = b""
    try:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it did not want to hear it all; what it said is there
    try:
        while piece := connection.recv(4096):
            text += piece
    except TimeoutError:
        return "nothing"
    finally:
        connection.close()
    if not text:
        return None
    head, _, body = text.partition(b"\r\n\r\n")
    length = int(re.search(rb"\r\nContent-Length: (\d+)", head).group(1))
    assert text.startswith(b"HTTP/1.1 ") and len(body) == length and b"HTTP/1." not in body, text
    return int(text.split()[1])


def broken_requests():
    host = b"Host: localhost\r\n"
    head = b"POST /v1/prices HTTP/1.1\r\n" + host
    get = b"GET /healthz HTTP/1.1\r\n" + host
    for name, raw, wanted in (
            ("garbage", random.Random(1).randbytes(2000), (400,)),
            # What is no request line at all, here TLS, ends the connection: libmicrohttpd has no answer to it (docs/http.md).
            ("no-request-line", b"\x16\x03\x01\x02\x00\x01\r\n\r\n", (None,)),
            ("nul", b"GET /\0 HTTP/1.1\r\n" + host + b"\r\n", (400,)),
            ("no-host", b"GET /healthz HTTP/1.1\r\n\r\n", (400,)),
            ("two-hosts", get + host + b"\r\n", (400,)),
            ("foreign-host", b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", (403,)),
            ("both-lengths", head + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400,)),
            ("bad-length", head + b"Content-Length: -1\r\n\r\n", (400,)),
            ("listed-length", head + b"Content-Length: 3, 3\r\n\r\nabc", (400,)),
            ("field-of-two-lines", get + b"X: a\r\n b\r\n\r\n", (400,)),
            ("cookies", get + b"Cookie: " + b"a=b;" * 1500 + b"\r\n\r\n", (200,)),
            ("arguments", b"GET /healthz?" + b"a=1&" * 2000 + b" HTTP/1.1\r\n" + host + b"\r\n", (200,)),
            ("series", b"GET /v1/latest?" + b"&".join([b"series=binance:HH/USDT"] * 350) + b" HTTP/1.1\r\n" + host + b"\r\n", (200,)),
            ("unknown-arguments", b"GET /v1/latest?" + b"a=1&" * 2000 + b" HTTP/1.1\r\n" + host + b"\r\n", (400,)),
            ("long-target", b"GET /healthz?" + b"a=1&" * 2100 + b" HTTP/1.1\r\n" + host + b"\r\n", (414,)),
            ("huge-length", head + b"Content-Length: 99999999999999999999\r\n\r\n", (400, 413)),
            ("too-large", head + b"Content-Length: 999999999\r\n\r\n", (413,)),
            ("bad-chunk", head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", (400,)),
            ("long-line", b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n" + host + b"\r\n", (414,)),
            ("many-fields", get + b"".join(b"x-%d: y\r\n" % i for i in range(3000)) + b"\r\n", (431,)),
            # Who ends its side in the middle of a body has gone: it is closed, or times out as a slow one does.
            ("half-body", head + b"Content-Length: 100\r\n\r\n{", (None, 408)),
            ("whole", get + b"\r\n", (200,))):
        status = answer_to(raw)
        assert status in wanted, f"{name}: {status}"


def bodies_in_a_coding():
    event = price_event("Z", now, "1.5").encode()
    for coding, body, wanted in (("gzip", gzip.compress(event), 415), ("deflate", zlib.compress(event), 415), ("br", event, 415),
                                 ("gzip", event, 415), ("identity", event, 200)):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("POST", "/v1/prices", body, {"Content-Encoding": coding})
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == wanted, (coding, answer.status, text)
        if wanted == 415:
            assert answer.headers["Accept-Encoding"] == "identity" and b'"code":"type"' in text, (answer.headers, text)
        connection.close()


def methods_of_routes():
    """405 names what the route has, whatever the method is called."""
    for path, allowed in (("/v1/latest", "GET, HEAD, POST, OPTIONS"), ("/v1/prices", "POST, OPTIONS"), ("/v1/series", "GET, HEAD, OPTIONS"),
                          ("/v1/stream", "GET, HEAD, OPTIONS"), ("/healthz", "GET, HEAD, OPTIONS"), ("/", "GET, HEAD, OPTIONS")):
        for method in ("PATCH", "TRACE", "DELETE", "BREW"):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            connection.request(method, path)
            answer = connection.getresponse()
            answer.read()
            assert (answer.status, answer.headers["Allow"]) == (405, allowed), (method, path, answer.status, answer.headers["Allow"])
            connection.close()


def drip_clients():
    """200 that send a byte at a time, half of them of a head, half of a body."""
    head = b"POST /v1/prices HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n"
    stop, drips = threading.Event(), [connect() for _ in range(200)]
    for connection in drips[:100]:
        connection.sendall(head)

    def drip(some):
        at = 0
        while not stop.is_set():
            at += 1
            for i, connection in some:
                try:
                    connection.send(b"[" if i < 100 else head[at:at + 1] or b"x")
                except OSError:
                    pass
            stop.wait(0.2)

    numbered = list(enumerate(drips))
    threads = [threading.Thread(target=drip, args=(numbered[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)

    def still_there():
        there = sum(is_open(connection) for connection in drips)
        assert there == 200 and connections() >= 200, f"{there} drip clients are still there"

    try:
        harm_of("200 drip clients", still_there)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for connection in drips:
            connection.close()


def a_thousand_idle_connections():
    idle = [connect() for _ in range(1000)]

    def still_there():
        there = sum(is_open(connection) for connection in idle)
        assert there == 1000 and connections() >= 1000, f"{there} idle connections, {connections()} by the server"

    harm_of("1,000 idle connections", still_there)
    memory = server.memory_bytes()
    for connection in idle:
        connection.close()
    assert memory < 256 << 20, f"{memory >> 20} MiB"


def slow_websocket_readers():
    """300 that subscribe to everything and take nothing while it changes: each has its bound, and then gets less."""
    readers = []
    before = server.memory_bytes()
    for _ in range(300):
        reader = Stream(server.port)
        reader.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.send({"subscribe": [{"series": "*", "interval": "latest"},
                                   *({"series": f"kraken:W{i}/USD", "interval": "1m", "kind": "price"} for i in range(20))]})
        readers.append(reader)
    grown = []

    def write():
        for turn in range(60):
            lines = "\n".join(price_event(f"W{i % 2000}", now - 120_000 + turn * 1000, f"{turn}.{i + 1}") for i in range(2000))
            status, body = server.request("POST", "/v1/prices", lines)
            assert status == 200, (status, body)
            grown.append(server.memory_bytes() - before)

    write()
    harm_of("300 websocket readers that read nothing", lambda: None)
    grown.append(server.memory_bytes() - before)
    there = sum(reader.connection.fileno() >= 0 and server_has(reader) for reader in readers)
    for reader in readers:
        reader.close()
    print(f"{max(grown) >> 20} MiB more at most for 300 websocket readers")
    # A queue holds 1 MiB (docs/http.md) and the message that went past it.
    assert max(grown) < 300 * (2 << 20), f"{max(grown) >> 20} MiB more"
    assert there == 300, f"{there} of 300 are still served"


def server_has(reader):
    """Something is there for it, and the server has not hung up."""
    return len(reader.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)) == 1


def clients_that_do_not_read():
    """Each asks for some 100 MiB and takes none of it."""
    lines = "\n".join(price_event(f"N{i}", now, "1.5") for i in range(2000))
    status, body = server.request("POST", "/v1/prices", lines)
    assert status == 200, (status, body)
    size = len(server.get("/v1/latest")[1])
    assert size > 100_000, size
    before = server.memory_bytes()
    request = b"GET /v1/latest HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500
    connections = [connect() for _ in range(20)]
    for connection in connections:
        connection.settimeout(0.2)
        try:
            connection.sendall(request)
        except OSError:
            pass
    harm_of("20 clients that do not read", lambda: None)
    grown = server.memory_bytes() - before
    for connection in connections:
        connection.close()
    print(f"{grown >> 20} MiB more for 20 clients that do not read, each {500 * size >> 20} MiB behind")
    assert grown < 128 << 20, f"{grown >> 20} MiB more"


def bodies_that_are_not_taken():
    """Clients that do not wait for `100 Continue`, and look for an answer when they have sent it all: it is there."""
    piece, before = b"x" * (1 << 20), server.memory_bytes()
    head = b"POST /v1/prices HTTP/1.1\r\nHost: localhost\r\n"
    for mib in (17, 20, 40, 200):
        for way, field, begin, end in (("length", b"Content-Length: %d" % (mib << 20), b"", b""),
                                       ("chunks", b"Transfer-Encoding: chunked", b"100000\r\n", b"\r\n")):
            connection = connect()
            connection.sendall(head + field + b"\r\n\r\n")
            for _ in range(mib):
                connection.sendall(begin + piece + end)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            text = answer.read()
            assert answer.status == 413 and b'"code":"too-large"' in text, f"{mib} MiB by {way}: {answer.status} {text}"
            connection.close()
    path = os.path.join(options.scratch, "body")
    with open(path, "wb") as file:
        file.truncate(40 << 20)
    for words in (["-H", "Expect:"], [], ["-H", "Expect:", "-H", "Transfer-Encoding: chunked"]):
        done = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *words, "--data-binary", "@" + path,
                               f"http://127.0.0.1:{server.port}/v1/prices"], capture_output=True, text=True, timeout=30)
        assert done.stdout == "413", f"curl {words}: {done.stdout}, code {done.returncode}"
    status, body = server.request("POST", "/v1/prices", b" " * (20 << 20))
    assert status == 413, (status, body)
    grown = server.memory_bytes() - before
    print(f"{grown >> 20} MiB more after 0.6 GiB of bodies that were not taken")
    assert grown < 48 << 20, f"{grown >> 20} MiB more"  # a few bodies that came as chunks, up to 16 MiB of each


def half_requests_that_go_away():
    for i in range(300):
        connection = connect()
        connection.sendall(b"POST /v1/prices HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n" + b"[" * (i % 100))
        connection.close()
    harm_of("300 that went away", lambda: None)


p99_ms(100)  # files and buffers are there
alone = [p99_ms() for _ in range(ROUNDS)]
for case in (broken_requests, bodies_in_a_coding, methods_of_routes, drip_clients, a_thousand_idle_connections, slow_websocket_readers, clients_that_do_not_read, bodies_that_are_not_taken, half_requests_that_go_away):
    report.case(case.__name__.replace("_", "-"), case)
ledger = server.json("/v1/ledger")
report.check("ledger", ledger["balanced"], ledger)
report.check("stops-cleanly", server.stop() == 0)
sys.exit(report.done())
