"""Memory that runs out at any point of a server's life: a request fails, or the program stops with its code for that; what was
acknowledged is there after the next start, once, and candles and ledger agree (docs/faults.md, 24)."""
import concurrent.futures, http.client, json, os, re, resource, shutil, signal, subprocess, sys, threading, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from fault import build
from oracle import Oracle
from stream import Stream
from wick import Report, Server, arguments, price_event

options = arguments("a server without memory")
report = Report()
POINTS = 150 if options.long else 8
library = build("no_memory", options.scratch)
config = os.path.join(options.scratch, "wick.yaml")
with open(config, "w") as file:
    file.write("log: {segment: 1MiB}\nstore: {map: 64MiB}\ncheckpoint: {every: 20ms}\n")
START = int(time.time() * 1000) // 86400_000 * 86400_000 - 20 * 86400_000
STOPS = (0, 5, 6)  # input/output, out of memory


class Life:
    def __init__(self, name):
        self.folder = os.path.join(options.scratch, name)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        self.data, self.acknowledged, self.in_doubt, self.counter = os.path.join(self.folder, "data"), [], [], 0
        self.server, self.refused = None, 0

    def start(self, **more):
        self.server = Server(options.wick, self.data, config, **more)

    def lines(self, count, padding=0):
        first, self.counter = self.counter, self.counter + count
        return ["{" + " " * padding + price_event(f"M{n % 7}", START + n * 500, f"{n % 97}.{n:06d}1")[1:]
                for n in range(first, first + count)]

    def post(self, count=20, padding=0, headers=None):
        lines = self.lines(count, padding)
        try:
            status, body = self.server.request("POST", "/v1/prices", "\n".join(lines), headers, timeout=20)
        except (OSError, http.client.HTTPException):
            status = None
        if status == 200 and json.loads(body)["accepted"] == count:
            self.acknowledged += lines
        else:
            self.in_doubt += lines
            self.refused += 1
        return status

    def get(self, path, body=None):
        """Whatever it says; an answer of 200 is whole JSON."""
        try:
            status, text = self.server.request("POST" if body else "GET", path, body, timeout=20)
        except (OSError, http.client.HTTPException):
            self.refused += 1
            return None
        if status == 200 and path.startswith("/v1/"):
            json.loads(text)
        self.refused += status >= 500
        return status

    def watch(self):
        try:
            stream = Stream(self.server.port)
            stream.send({"subscribe": [{"series": "kraken:M1/USD", "interval": "1m", "kind": "price"}]})
            stream.next(0.2)
            stream.close()
        except (OSError, AssertionError):
            self.refused += 1

    def requests(self):
        """A small life; ends early where the program has ended."""
        for turn in range(6):
            self.post()
            self.post(5, headers={"Idempotency-Key": f"k{turn}"})
            self.get("/v1/latest?series=kraken:M1/USD")
            self.get("/v1/candles?series=kraken:M1/USD&interval=5m")
            self.get("/v1/query", '[{"latest":"kraken:M2/USD"},{"candles":{"series":"kraken:M2/USD","interval":"1h"}}]')
            self.get("/v1/ledger")
            if self.server.process.poll() is not None:
                return
        self.post(300, 5000)
        self.watch()
        self.get("/metrics")
        self.get("/v1/series")

    def afterwards(self):
        """What a start with memory finds."""
        self.start()
        self.server.wait_ready()
        problems = Oracle().compare(options.wick, self.server, self.acknowledged, self.in_doubt)
        if self.post() != 200:
            problems.append("it does not accept")
        if self.server.stop() != 0:
            problems.append("the last stop is not clean")
        return problems

    def told(self):
        self.server._reader.join(2)
        return " | ".join(self.server.said[-3:])

    def end(self):
        if self.server is not None and self.server.process.poll() is None:
            self.server.kill()


def lives(life, **env):
    """Start to stop; its exit code, or None if it had to be killed after it was told to stop."""
    life.start(env={"LD_PRELOAD": library, **env})
    try:
        life.server.address(20)
    except RuntimeError:
        pass
    if life.server.process.poll() is None and life.server.port is not None:
        life.requests()
    if life.server.process.poll() is None:
        life.server.process.send_signal(signal.SIGTERM)
    try:
        return life.server.process.wait(30)
    except subprocess.TimeoutExpired:
        return None


def counted():
    life = Life("count")
    code = lives(life, NO_MEMORY_COUNT="1")
    assert code == 0 and life.refused == 0, (code, life.refused, life.told())
    life.server._reader.join(2)
    total = int(re.search(r"allocations (\d+)", " ".join(life.server.said)).group(1))
    problems = life.afterwards()
    assert not problems, problems
    return total


def one(case):
    at, more = case
    life = Life(f"w-{threading.get_ident()}")
    how = f"allocation {at}{' and all behind it' if more else ''}"
    try:
        code = lives(life, NO_MEMORY_AT=str(at), **more)
        # simdjson itself cannot be told, when it chooses its instructions: at the start, before anybody is listened to.
        in_simdjson = code == -signal.SIGABRT and life.server.port is None and "std::bad_alloc" in life.told()
        problems = [] if code in STOPS or in_simdjson else [f"exit {code}: {life.told()}"]
        noticed = code != 0 or life.refused > 0
        life.end()
        return noticed, [f"{how}: {text}" for text in problems + life.afterwards()]
    except Exception as error:
        return True, [f"{how}: {type(error).__name__}: {error}; {life.told()}"]
    finally:
        life.end()
        shutil.rmtree(life.folder, ignore_errors=True)


def at_any_point(name, total, more):
    points = [(part * total // POINTS + total // POINTS // 2, more) for part in range(POINTS)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(one, points))
    noticed, problems = sum(result[0] for result in results), [text for result in results for text in result[1]]
    print(f"{name}: {POINTS} points of {total} allocations, {noticed} were noticed")
    report.check(name, not problems and noticed > 0, "; ".join(problems[:5]) or "no failure was noticed")


def little_memory():
    """Under a limit just above what it holds, large requests fail; without it they are taken again. The limit is of data and
    not of addresses: an arena of malloc reserves 64 MiB of those before it needs them."""
    life = Life("space")
    life.start()
    life.server.wait_ready()
    try:
        assert life.post() == 200
        pid = life.server.process.pid
        with open(f"/proc/{pid}/status") as status:
            size = int(re.search(r"VmData:\s+(\d+) kB", status.read()).group(1)) * 1024
        resource.prlimit(pid, resource.RLIMIT_DATA, (size + (1 << 20), resource.RLIM_INFINITY))
        statuses = {life.post(1500, 5000) for _ in range(4)} | {life.get("/v1/candles?series=kraken:M1/USD&interval=1m&limit=50000")}
        assert life.refused > 0, f"nothing was short: {statuses}"
        resource.prlimit(pid, resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        accepted, code = life.post(1500, 5000) == 200, life.server.stop()
        assert code == 0 and accepted or code == 6, f"exit {code}, accepted again: {accepted}; {life.told()}"
        problems = life.afterwards()
        assert not problems, "; ".join(problems[:3])
    finally:
        life.end()


def main():
    total = counted()
    at_any_point("one-allocation-fails", total, {})
    at_any_point("every-allocation-from-one-on-fails", total, {"NO_MEMORY_ON": "1"})
    report.case("little-memory", little_memory)


try:
    main()
except Exception as error:
    report.check("starved", False, f"{type(error).__name__}: {error}")
sys.exit(report.done())
