"""Coarser with age: minutes leave after their time and 15m and 1d remain; the disk has its space back, whatever is sealed
again or given up half way; a rebuild gives the same bytes."""
import json, os, random, signal, subprocess, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, Server, arguments, must, price_event, run

options = arguments("retention")
report = Report()
DAY, MINUTE = 86_400_000, 60_000
TODAY = int(time.time() * 1000) // DAY * DAY
DAYS, KEPT = 60, 10
START = TODAY - DAYS * DAY
SERIES = [f"S{i}" for i in range(3)]
data = os.path.join(options.scratch, "data")
config = os.path.join(options.scratch, "wick.yaml")
with open(config, "w") as file:
    file.write(f"retention: {{raw: 1s, 1m: {KEPT}d, 15m: forever}}\n")


servers = []


def start_server(*words, **options_of_it):
    servers.append(Server(options.wick, data, *words, **options_of_it))
    servers[-1].wait_ready()
    return servers[-1]


def klines(name, seed, first_day, days):
    chance = random.Random(f"{options.seed} {seed}")
    price, path = 10_000, os.path.join(options.scratch, name)
    with open(path, "w") as out:
        for minute in range(first_day * 1440, (first_day + days) * 1440):
            close = max(price + chance.randint(-50, 50), 100)
            high, low = max(price, close) + chance.randint(0, 30), min(price, close) - chance.randint(0, 30)
            volume, t = chance.randint(1, 10**6), START + minute * MINUTE
            out.write(f"{t},{price / 100:.2f},{high / 100:.2f},{low / 100:.2f},{close / 100:.2f},{volume / 10**4:.4f},{t + 59_999},"
                      f"{volume * price // 100}.5,{chance.randint(1, 99)},0,0,0\n")
            price = close
    return path


def take(base, path):
    return must(options.wick, "import", "--as", "binance-klines", "--series", f"binance:{base}/USDT", path, data=data)


def sealed_bytes(*tiers):
    total = 0
    for tier in tiers or ("1m", "15m", "1d"):
        path = os.path.join(data, "log", f"candles.sealed.{tier}-0")
        for name in os.listdir(path):
            try:
                total += os.path.getsize(os.path.join(path, name))
            except FileNotFoundError:
                pass  # compaction has just taken it away
    return total


def until(what, good, seconds=60):
    end = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.05)


def ask(server, base, interval, first, last, zone="UTC"):
    return server.get(f"/v1/candles?series=binance:{base}/USDT&interval={interval}&from={first}&to={last}&limit=5000&tz={zone}")


def old(server, interval):
    bodies = []
    for base in SERIES:
        for first in range(START, START + (DAYS - KEPT - 1) * DAY, 40 * DAY):
            status, body = ask(server, base, interval, first, min(first + 40 * DAY, START + (DAYS - KEPT - 1) * DAY))
            assert status == 200, body
            bodies.append(body)
    return bodies


def native(bodies):
    return {row["native_interval"] for body in bodies for row in json.loads(body)}


def expired(server):
    return all(ask(server, base, "1m", START, START + DAY)[0] == 400 for base in SERIES)


def minutes_leave_and_the_rest_stays():
    for base in SERIES:
        take(base, klines(base, base, 0, DAYS))
    server = start_server()
    before = {interval: old(server, interval) for interval in ("15m", "1h", "1d")}
    recent = [ask(server, base, "1m", TODAY - 3 * DAY, TODAY) for base in SERIES]
    assert native(before["15m"]) == {"15m"} and native(before["1d"]) == {"1d"}
    server.stop()
    full = sealed_bytes("1m")
    server = start_server(config=config)
    until("minutes leave", lambda: expired(server))
    until("their space is given back", lambda: sealed_bytes("1m") < full / 2)
    assert {interval: old(server, interval) for interval in before} == before
    assert [ask(server, base, "1m", TODAY - 3 * DAY, TODAY) for base in SERIES] == recent
    for interval, zone in (("1m", "UTC"), ("20m", "UTC"), ("1d", "%2B05:07")):
        status, body = ask(server, "S0", interval, START, START + 5 * DAY, zone)
        assert status == 400 and b"finest candles that are still kept are of 15m" in body, (interval, zone, status, body[:300])
    server.stop()


def what_is_sealed_again_or_given_up_does_not_pile_up():
    """New versions of the same days, each half of the time by an import that dies after its blocks are in the topic."""
    server = start_server(config=config)
    small, most = sealed_bytes(), 0
    for turn in range(12):
        path = klines(f"again{turn}", turn, DAYS - 9, 9)
        if turn % 3 == 2:
            with open(path, "a") as out:
                out.write("this is no kline, and neither is the rest\n" * 100_000)
            run(options.wick, "import", "--as", "binance-klines", "--series", "binance:S1/USDT", "--strict", path, data=data)
            continue
        for base in SERIES:
            with open(path, "a") as out:
                out.write("\n" if base != SERIES[0] else "")  # other content, the same candles
            take(base, path)
        most = max(most, sealed_bytes())
    until("the old versions leave", lambda: sealed_bytes() < small + 2_500_000)
    assert most > small + 1_000_000, "nothing piled up in between: this shows nothing"
    last = [ask(server, base, "1m", TODAY - 3 * DAY, TODAY) for base in SERIES]
    assert all(body == last[0][1].replace(b":S0/", f":{base}/".encode()) for base, (_, body) in zip(SERIES, last))
    server.stop()


def raw_leaves_once_it_is_folded():
    server = start_server(config=config)
    now = int(time.time() * 1000)
    for i in range(6):
        body = "[" + price_event("RAW", now + i, f"{i + 1}.5") + "]"
        assert server.request("POST", "/v1/prices", body)[0] == 200
        time.sleep(0.3)  # a segment is closed when it is as old as a quarter of the retention
    server.kill()
    server = start_server(config=config)

    def start():
        words = [line.split() for line in must(options.wick, "topic", "list", data=data).decode().splitlines()]
        return next(int(row[2]) for row in words if row and row[0] == "prices")

    until("the topic's first records leave", lambda: start() > 3)
    rows = server.json(f"/v1/candles?series=kraken:RAW/USD&interval=1m&from={now - now % MINUTE}&to={now + 10 * MINUTE}")
    assert sum(row["trades"] for row in rows) == 6 and rows[0]["open"] == "1.5" and rows[-1]["close"] == "6.5", rows
    server.stop()


def snapshot():
    said = []
    for base in SERIES:
        for interval, first in (("1m", TODAY - 3 * DAY), ("15m", TODAY - 50 * DAY), ("15m", START), ("1d", START), ("1M", START)):
            said.append(must(options.wick, "candles", f"binance:{base}/USDT", "--interval", interval, "--from", str(first), "--to",
                             str(min(first + 50 * DAY, TODAY)), "--limit", "5000", "--format", "json", data=data))
    return said


def a_rebuild_gives_the_same():
    before = snapshot()
    must(options.wick, "fsck", data=data)
    must(options.wick, "fsck", "--rebuild", data=data)
    assert snapshot() == before
    must(options.wick, "fsck", data=data)


def case(name, function):
    report.case(name, function)
    for server in servers:
        server.stop()


case("minutes leave, 15m and 1d stay", minutes_leave_and_the_rest_stays)
case("versions and given up imports do not pile up", what_is_sealed_again_or_given_up_does_not_pile_up)
case("raw records leave once they are folded", raw_leaves_once_it_is_folded)
case("a rebuild gives the same", a_rebuild_gives_the_same)
sys.exit(report.done())
