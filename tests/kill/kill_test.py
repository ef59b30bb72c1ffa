"""Kills the real program with SIGKILL under load, at least 20 times in each phase, and asks what it knows afterwards.

What must hold (docs/faults.md: D1, D2, D6, D7, D8):
- each event acknowledged by 200 is in topic `prices` exactly once, byte for byte;
- each event that was sent and not acknowledged is there once or not at all, and nothing else is there;
- the candles equal a fold of the log's content done here with exact decimals;
- the ledger balances and counts every record once.

The program (a test build) says through a shared page which phase it is in (src/sys/phase.h); the page outlives it, so a
kill counts for the phases in which it really fell. Most kills are aimed at a phase (WICK_KILL), the others fall anywhere.
Days are sealed a few freezes after they end (WICK_SEAL_REST), so that `wick run` seals all the time; an import seals at its
end. At last recovery itself is killed, again and again, at its system calls (tests/lib/fault.c), without a start between.
"""
import http.client, json, mmap, multiprocessing, os, random, shutil, signal, struct, subprocess, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from fault import Faults, build
from oracle import Oracle
from wick import Report, Server, arguments, must, price_event, run

PHASES = ["append", "sync", "roll", "checkpoint", "seal", "recovery"]
CLIENTS, SERIES_EACH, EVENTS = 3, 2, 40
MINUTE = 60_000
CONFIG = "log: {segment: 1MiB}\ncheckpoint: {every: 50ms}\n"


class Page:
    def __init__(self, path):
        with open(path, "wb") as file:
            file.write(bytes(4096))
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 4096)

    def clear(self):
        self.map[:64] = bytes(64)

    def all_inside(self):
        counters = struct.unpack_from(f"{len(PHASES)}I", self.map)
        return [name for name, counter in zip(PHASES, counters) if counter]


class Client:
    """Posts events of its own series, each of which exists once in the world; time runs fast, so that days get sealed."""

    def __init__(self, number, seed, start_ms):
        self.random = random.Random(seed * 1000 + number)
        self.number, self.time_ms, self.counter = number, start_ms, 0
        self.acknowledged, self.in_doubt = [], []

    def body(self):
        lines = []
        step = 2000
        for i in range(EVENTS):
            self.counter += 1
            base = f"K{self.number}S{self.random.randrange(SERIES_EACH)}"
            # Up to 5 s of disorder, within the grace; some events share their millisecond.
            at = self.time_ms + step * i // EVENTS - self.random.randrange(0, 5000) // 100 * 100
            price = f"{self.random.randrange(1, 10**6)}.{self.counter:09d}1"
            lines.append(price_event(base, at, price))
        self.time_ms += step
        if self.random.random() < 0.2:
            self.time_ms += self.random.choice([MINUTE, 60 * MINUTE, 400 * MINUTE])
        return lines

    def work(self, port):
        connection = None
        while True:
            lines = self.body()
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                connection.request("POST", "/v1/prices", "\n".join(lines), {"Content-Type": "application/x-ndjson"})
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                self.in_doubt += lines
                return
            time.sleep(0.01)
            if answer.status != 200:
                self.in_doubt += lines
                if answer.status not in (429, 503):
                    raise RuntimeError(f"POST /v1/prices: {answer.status} {text[:300]!r}")
                continue
            said = json.loads(text)
            if said["accepted"] != EVENTS or said["duplicate"] or said["invalid"]:
                raise RuntimeError(f"POST /v1/prices accepted {said}")
            self.acknowledged += lines


class Fleet:
    """The clients, each in a process of its own, so that the killer's watch is not held up by them."""

    def __init__(self, seed):
        start_ms = (int(time.time()) - 3000 * 86400) // 86400 * 86400_000
        self.acknowledged, self.in_doubt, self.errors = [], [], []
        self.pipes = []
        for number in range(CLIENTS):
            ours, theirs = multiprocessing.Pipe()
            multiprocessing.Process(target=serve_client, args=(number, seed, start_ms, theirs), daemon=True).start()
            self.pipes.append(ours)

    def start(self, port):
        for pipe in self.pipes:
            pipe.send(port)

    def stop(self):
        """The server is dead: each client tells what was acknowledged and what was under way."""
        for pipe in self.pipes:
            acknowledged, in_doubt, error = pipe.recv()
            self.acknowledged += acknowledged
            self.in_doubt += in_doubt
            self.errors += [error] if error else []


def serve_client(number, seed, start_ms, pipe):
    client = Client(number, seed, start_ms)
    while True:
        port, error = pipe.recv(), None
        client.acknowledged, client.in_doubt = [], []
        try:
            client.work(port)
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
        pipe.send((client.acknowledged, client.in_doubt, error))


def aim(phase, chance):
    """The environment that makes the program kill itself in a phase: at its begin, or when its work is done."""
    times = {"append": 60, "sync": 60, "roll": 2, "checkpoint": 6, "seal": 3, "recovery": 1}[phase]
    return {"WICK_KILL": f"{PHASES.index(phase)},{chance.randrange(1, times + 1)},{chance.randrange(2)}"}


def wait_end(server, seconds):
    """Until the program has killed itself; if it does not, it is killed wherever it is."""
    try:
        server.process.wait(seconds)
    except subprocess.TimeoutExpired:
        server.kill()


def import_kills(options, page, env, chance, want, report):
    """Imports killed while they seal: nothing shows, and the next run starts over. How many kills fell there."""
    data, other = os.path.join(options.scratch, "imports"), os.path.join(options.scratch, "imports-reference")
    path, kills = os.path.join(options.scratch, "prices.jsonl"), 0
    must(options.wick, "generate", "price-events", "--count", "20000", "--series", "20", "--span-ms", str(4 * 86400_000),
         "--seed", str(options.seed), "--out", path)
    for _ in range(want * 3):
        page.clear()
        at = {"WICK_KILL": f"{PHASES.index('seal')},{chance.randrange(1, 21)},{chance.randrange(2)}"}
        code, _, _ = run(options.wick, "import", path, data=data, env=dict(env, **at))
        kills += 1 if code == -signal.SIGKILL and "seal" in page.all_inside() else 0
        if code == -signal.SIGKILL:
            shown = json.loads(must(options.wick, "ledger", "--format", "json", data=data).splitlines()[0])
            if shown["topic"].startswith("imports/"):
                report.check("killed-imports-show-nothing", False, str(shown))
        if kills >= want or code == 0:
            break
    for folder in (data, other):
        must(options.wick, "import", path, data=folder)
    series = [json.loads(line)["series"] for line in must(options.wick, "series", "--format", "json", data=other).splitlines()]
    wrong = [name for name in series
             if must(options.wick, "candles", name, "--format", "csv", "--limit", "20000", data=data)
             != must(options.wick, "candles", name, "--format", "csv", "--limit", "20000", data=other)]
    report.check("killed-imports-start-over", len(series) > 0 and not wrong, f"other candles of {wrong[:3]}")
    return kills


def recovery_kills(options, config, data, chance, want):
    """Kills at the system calls of a start, none of which gets through: the longest row of them."""
    faults = Faults(build("fault", options.scratch), os.path.join(options.scratch, "again"))
    copy, row, longest, fell = os.path.join(faults.folder, "data"), 0, 0, {}
    shutil.move(data, copy)  # below the folder that is watched
    counts = None
    for _ in range(want * 5):
        if counts is None or row % 20 == 0:
            counts = calls_of_a_start(options, config, copy, faults)
        kind = chance.choice([kind for kind in ("open", "sync", "pwrite", "pwritev", "truncate", "allocate") if counts[kind] > 0])
        faults.reset()
        # The last third may come when it serves already, or not at all.
        faults.arm(kind, "kill", chance.randrange(1, max(2, counts[kind] * 2 // 3 + 1)))
        server = Server(options.wick, copy, config, faults.env)
        try:
            server.wait_ready()
            row = 0  # it made fewer calls than the copy's start
        except RuntimeError:
            row += 1
            fell[kind] = fell.get(kind, 0) + 1
        server.kill()
        longest = max(longest, row)
        if longest >= want:
            break
    shutil.move(copy, data)
    print(f"{longest} kills of recovery in a row, at: " + ", ".join(f"{kind} {count}" for kind, count in sorted(fell.items())))
    return longest


def calls_of_a_start(options, config, data, faults):
    """How many calls of each kind a start makes before it serves, seen on a copy."""
    probe = os.path.join(faults.folder, "probe")
    shutil.rmtree(probe, ignore_errors=True)
    shutil.copytree(data, probe, ignore=shutil.ignore_patterns("socket"))
    faults.reset()
    server = Server(options.wick, probe, config, faults.env)
    server.address(20)
    counts = faults.counts()
    server.kill()
    return counts


def main():
    options = arguments("kills the program under load")
    report, chance = Report(), random.Random(options.seed)
    data, config = os.path.join(options.scratch, "data"), os.path.join(options.scratch, "wick.yaml")
    with open(config, "w") as file:
        file.write(CONFIG)
    page = Page(os.path.join(options.scratch, "phases"))
    env = {"WICK_PHASES": os.path.join(options.scratch, "phases"), "WICK_SEAL_REST": "1"}
    want_each, want_all = (200, 2000) if options.long else (20, 200)
    fleet, oracle = Fleet(options.seed), Oracle()
    counts, kills = dict.fromkeys(PHASES, 0), 0
    deadline = time.monotonic() + (1500 if options.long else 240)
    imports = import_kills(options, page, env, chance, want_each, report)

    while (kills < want_all or min(counts.values()) < want_each) and not fleet.errors and time.monotonic() < deadline:
        rare = min(PHASES, key=lambda name: counts[name])
        # A third of the kills are not aimed: they fall anywhere.
        phase = rare if counts[rare] < want_each else chance.choice(PHASES + [None, None, None])
        page.clear()
        server = Server(options.wick, data, config, dict(env, **(aim(phase, chance) if phase else {})))
        if phase == "recovery":
            wait_end(server, 5)
        elif phase is None and chance.random() < 0.5:
            time.sleep(chance.random() * 0.02)
            server.kill()
        else:
            try:
                server.wait_ready()
            except RuntimeError:
                pass  # the aim was met while it started
            if server.process.poll() is None:
                oracle.read_log(options.wick, data)
                fleet.start(server.port)
                wait_end(server, 5 if phase else chance.random() * 0.3)
                fleet.stop()
        kills += 1
        for name in page.all_inside():
            counts[name] += 1

    row = recovery_kills(options, config, data, chance, 100)
    server = Server(options.wick, data, config, env)
    server.wait_ready()
    oracle.read_log(options.wick, data)
    events = oracle.compare_events(fleet.acknowledged, fleet.in_doubt)
    candles = oracle.compare_candles(server)
    ledger = oracle.compare_ledger(server)
    code = server.stop()
    acknowledged = len(fleet.acknowledged)
    print(f"{kills} kills and {imports} of imports: " + ", ".join(f"{name} {count}" for name, count in counts.items())
          + f"; {acknowledged} events acknowledged, {len(fleet.in_doubt)} in doubt, "
          f"{len(oracle.seen)} in the log, {len(oracle.candles)} candles")
    report.check("load", not fleet.errors and acknowledged > 0, "; ".join(fleet.errors[:3]) or "nothing was acknowledged")
    report.check("kills", kills >= want_all, f"{kills} of {want_all}")
    report.check("kills-of-imports-that-seal", imports >= want_each, f"{imports} of {want_each}")
    report.check("kills-of-recovery-in-a-row", row >= 100, f"{row} of 100")
    for name in PHASES:
        report.check(f"kills-in-{name}", counts[name] >= want_each, f"{counts[name]} of {want_each}")
    report.check("acknowledged-events-are-there-once", not events, "; ".join(events[:5]))
    report.check("candles-equal-reference", not candles, "; ".join(candles[:5]))
    report.check("ledger-counts-each-once", not ledger, "; ".join(ledger[:5]))
    report.check("stops-cleanly", code == 0, f"exit {code}")
    sys.exit(report.done())


main()
