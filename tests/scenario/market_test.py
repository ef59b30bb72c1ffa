"""The demo's market, and ./demo itself: what a newcomer sees first is true, and has all that the page can show.

./demo is run in a tree of its own, where the program is built already, so nothing is compiled here; that a fresh clone has all
it needs and builds, each run of CI shows."""
import collections, os, shutil, signal, socket, subprocess, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, Server, arguments, must, rows

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
CONFIG = os.path.join(ROOT, "examples", "demo", "wick.yaml")
SERIES, HISTORY_MS, MINUTE = 72, 25 * 3_600_000, 60_000
options = arguments(__doc__)
report = Report()
data = os.path.join(options.scratch, "data")


def until(what, check, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = check()
        if answer:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


def candles(server, series, **arguments):
    words = "".join(f"&{name}={value}" for name, value in arguments.items())
    return server.json(f"/v1/candles?series={series['series']}&kind={series['kind']}{words}")


def ledger(server):
    answer = server.json("/v1/ledger")
    assert answer["balanced"], answer
    return {row["topic"]: row for row in answer["rows"]}


started_ms = int(time.time() * 1000)
server = Server(options.wick, data, config=CONFIG)
server.wait_ready()


def history_is_there():
    """The last minutes of all series come at once, so who has been seen in them has them whole."""
    until("every series has its last minutes",
          lambda: sum((s["last_seen"] or 0) > started_ms - 5 * MINUTE for s in server.json("/v1/series")) == SERIES)
    known = server.json("/v1/series")
    assert {s["venue"] for s in known} == {"binance", "kraken", "coinbase"}, known
    assert len({(s["base"], s["quote"]) for s in known}) == 24
    assert collections.Counter(s["kind"] for s in known) == {"trade": 24, "price": 48}
    for series in known[::7]:
        (first,) = candles(server, series, interval="1h", limit=1, **{"from": 0})
        assert 0 <= first["open_time"] - (started_ms - HISTORY_MS) // (60 * MINUTE) * 60 * MINUTE <= 120 * MINUTE, first


def no_candle_closes_amid_its_history():
    """What is left are trades that came late and filled a hole in the ids."""
    revised = total = 0
    for series in server.json("/v1/series"):
        for candle in candles(server, series, interval="1m", **{"from": started_ms - 10 * MINUTE, "to": started_ms // MINUTE * MINUTE}):
            total += 1
            revised += candle["revision"] > 0
            genuine = series["kind"] == "trade" and candle["revision"] <= 8 and candle.get("reason") == "repair"
            assert candle["revision"] == 0 or genuine, (series["series"], candle)
    assert total > SERIES * 7, total
    assert revised < total / 10, f"{revised} of {total}"


def late_double_lost_quiet():
    found = ledger(server)
    assert found["prices"]["late"] > 0 and found["inbound-data-binance"]["duplicate"] > 0, found
    gaps = rows(options.wick, "gaps", data=data)
    lost = [g for g in gaps if g["missing"] > 0]
    assert len({g["series"] for g in lost}) > 3, gaps
    assert all(g["missing"] == g["last_id"] - g["first_id"] + 1 and g["after"] < g["before"] for g in lost)
    trades = [s for s in server.json("/v1/series") if s["kind"] == "trade"]
    coverage = collections.Counter(c["coverage"] for s in trades for c in candles(server, s, interval="1m", limit=1500))
    for kind in ("traded", "quiet", "partial"):
        assert coverage[kind] > 0, coverage


def pairs_of_one_base_move_together():
    def close(series):
        return float(candles(server, series, interval="1h", limit=2)[0]["close"])

    by_pair = collections.defaultdict(list)
    for series in server.json("/v1/series"):
        by_pair[series["base"], series["quote"]].append(close(series))
    for pair, found in by_pair.items():
        assert len(found) == 3 and max(found) / min(found) < 1.01, (pair, found)


def it_goes_on():
    before = {topic: row["read"] for topic, row in ledger(server).items()}
    until("more comes", lambda: all(row["read"] > before[topic] for topic, row in ledger(server).items()))


def a_pause_is_a_gap():
    """Stopped and started again: ids have run on meanwhile, none is used twice, and what was missed is a hole."""
    global server
    assert server.stop() == 0
    known = must(options.wick, "series", "--format", "csv", data=data)
    before = {row["topic"]: row for row in rows(options.wick, "ledger", data=data)}["inbound-data-binance"]
    holes = len(rows(options.wick, "gaps", data=data))
    assert known.count(b"\n") >= SERIES
    server = Server(options.wick, data, config=CONFIG)
    server.wait_ready()
    after = until("fifty trades", lambda: (row := ledger(server)["inbound-data-binance"])["used"] > before["used"] + 50 and row)
    assert after["duplicate"] - before["duplicate"] < 10, (before, after)
    assert len(rows(options.wick, "gaps", data=data)) > holes


def demo_run(tree, port):
    """./demo until its candles are there."""
    began_ms = int(time.time() * 1000)
    with open(os.path.join(options.scratch, "demo.log"), "w+") as log:
        demo = subprocess.Popen([os.path.join(tree, "demo"), "--port", str(port)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                start_new_session=True)
        server.port = port

        def said():
            log.seek(0)
            return log.read()

        def ready():
            assert demo.poll() is None, said()
            try:
                return server.get("/readyz")[0] == 200
            except OSError:
                return False

        try:
            until("ready", ready, 120)
            until("the address", lambda: f"http://127.0.0.1:{port}/" in said())
            until("many series move", lambda: sum((s["last_seen"] or 0) > began_ms for s in server.json("/v1/series")) > SERIES // 3)
            for series in server.json("/v1/series")[::9]:
                assert len(candles(server, series, interval="15m")) > 90, series
            assert server.get("/")[1].startswith(b"<!doctype html>")
        finally:
            os.killpg(demo.pid, signal.SIGINT)  # as Ctrl-C does
            assert demo.wait(30) == 0, said()


def quiet_port():
    """A free one that no other program is given by chance meanwhile."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first = int(file.read().split()[0])
    for port in range(max(first - 1 - os.getpid() % 1000, 2000), 1024, -1):
        try:
            with socket.socket() as free:
                free.bind(("127.0.0.1", port))
                return port
        except OSError:
            continue
    raise AssertionError("no port is free")


def demo_twice():
    server.stop()
    tree = os.path.join(options.scratch, "tree")
    os.makedirs(os.path.join(tree, "tools"))
    os.makedirs(os.path.join(tree, "build"))
    for name in ("demo", "tools/setup"):
        shutil.copy2(os.path.join(ROOT, name), os.path.join(tree, name))
    shutil.copytree(os.path.join(ROOT, "examples", "demo"), os.path.join(tree, "examples", "demo"))
    os.symlink(options.wick, os.path.join(tree, "build", "wick"))
    with open(os.path.join(tree, "build", "build.ninja"), "w") as build:
        build.write("build all: phony\n")
    port = quiet_port()
    demo_run(tree, port)
    demo_run(tree, port)
    words = subprocess.run([os.path.join(tree, "demo"), "--prot", "1"], capture_output=True)
    assert words.returncode == 2 and b"usage: ./demo" in words.stderr, words


for name, case in (("history", history_is_there), ("no-candle-closes-amid-its-history", no_candle_closes_amid_its_history),
                   ("late-double-lost-quiet", late_double_lost_quiet), ("pairs-move-together", pairs_of_one_base_move_together),
                   ("goes-on", it_goes_on), ("a-pause-is-a-gap", a_pause_is_a_gap),
                   ("demo-twice", demo_twice)):
    report.case(name, case)
sys.exit(report.done())
