"""Rot in sealed blocks: an error that names file, place and range; every other range and series is served; fsck names it; a
rebuild restores what the log still has, and lists what it cannot."""
import glob, json, os, struct, sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, Server, arguments, flip, must, price_event, run

options = arguments("rot in sealed blocks")
report = Report()
START, DAY, DAYS = 1_701_388_800_000, 86_400_000, 12
SERIES = ("S0", "S1")
data = os.path.join(options.scratch, "data")
TOPIC = "candles.sealed.1m"


def klines(name, seed):
    path, price = os.path.join(options.scratch, name), 10_000 + seed
    with open(path, "w") as out:
        for minute in range(DAYS * 1440):
            close, t = price + (minute * 7919 + seed) % 101 - 50, START + minute * 60_000
            volume = (minute * 31 + seed) % 9999 + 1
            out.write(f"{t},{price / 100:.2f},{max(price, close) / 100:.2f},{min(price, close) / 100:.2f},{close / 100:.2f},"
                      f"{volume / 100:.2f},{t + 59_999},{volume * price / 10_000:.4f},{minute % 50 + 1},0,0,0\n")
            price = close
    return path


def segment(topic=TOPIC):
    return sorted(glob.glob(os.path.join(data, "log", f"{topic}-0", "*.log")))[0]


def batches(path):
    """Position, first offset, last offset."""
    with open(path, "rb") as file:
        content, at, found = file.read(), 0, []
    while at + 61 <= len(content):
        base, length, _, _, _, _, last = struct.unpack_from(">qiibIhi", content, at)
        if length == 0:
            break
        found.append((at, base, base + last))
        at += 12 + length
    return found


def ask(server, base, interval="1m", first=0, days=1):
    return server.get(f"/v1/candles?series=binance:{base}/USDT&interval={interval}&from={START + first * DAY}"
                      f"&to={START + (first + days) * DAY}&limit=5000")


def serve():
    server = Server(options.wick, data)
    server.wait_ready()
    return server


def days_of(base):
    """Which day's block of a series lies at which offset of the topic."""
    lines = [json.loads(line) for line in must(options.wick, "topic", "read", TOPIC, data=data).decode("latin-1").strip().split("\n")]
    return {(int(row["key"].rsplit("|", 1)[1]) - START) // DAY: row["offset"] for row in lines if f":{base}/" in row["key"]}


def an_error_names_it_and_the_rest_is_served():
    for seed, base in enumerate(SERIES):
        must(options.wick, "import", "--as", "binance-klines", "--series", f"binance:{base}/USDT", klines(base, seed), data=data)
    server = serve()
    whole = {(base, day): ask(server, base, first=day) for base in SERIES for day in range(DAYS)}
    coarse = {interval: ask(server, "S0", interval, 0, DAYS) for interval in ("15m", "1d")}
    server.stop()
    assert all(status == 200 and len(json.loads(body)) == 1440 for status, body in whole.values())
    where, first, last = batches(segment())[0]
    lost = {day for day, offset in days_of("S0").items() if first <= offset <= last}
    assert 0 < len(lost) < DAYS, f"{lost} of {DAYS} days are in one batch: this shows nothing"
    flip(segment(), where + 5000)
    name = os.path.basename(segment())
    for again in range(2):
        server = serve()
        for (base, day), good in whole.items():
            got = ask(server, base, first=day)
            if base == "S0" and day in lost:
                error = json.loads(got[1])["error"]
                assert got[0] == 500 and error["code"] == "corrupt", got
                assert error["at"] == f"{TOPIC}-0/{name} at byte {where}", error
                assert f"offsets {first} to {last} are lost" in error["message"], error
                assert str(START + day * DAY) in error["message"], error
            else:
                assert got == good, (base, day, got[1][:200])
        assert ask(server, "S0", first=0, days=DAYS)[0] == 500
        assert {interval: ask(server, "S0", interval, 0, DAYS) for interval in coarse} == coarse
        assert server.request("POST", "/v1/prices", price_event("NEW", START, "1"))[0] == 200
        server.stop()
    code, _, err = run(options.wick, "candles", "binance:S0/USDT", "--from", str(START), "--to", str(START + DAY), data=data)
    assert code == 4 and name.encode() in err, (code, err)
    code, out, err = run(options.wick, "fsck", data=data)
    assert code == 4 and f"{TOPIC}-0/{name} at byte {where}" in out.decode(), (code, out, err)
    assert f"offsets {first} to {last} are lost" in out.decode() and b"--cut" not in out, out


def a_rebuild_restores_the_rest_and_lists_what_is_lost():
    where, first, last = batches(segment())[0]
    code, out, err = run(options.wick, "fsck", "--rebuild", data=data)
    assert code == 4, (code, out, err)
    assert f"not restored: {TOPIC}-0/{os.path.basename(segment())} at byte {where}" in out.decode(), out
    assert f"offsets {first} to {last} are lost" in out.decode(), out
    server = serve()
    got = {base: {day for day in range(DAYS) if len(json.loads(ask(server, base, first=day)[1])) == 1440} for base in SERIES}
    server.stop()
    kept = {base: set(days_of_readable(base)) for base in SERIES}
    assert got == kept and len(got["S1"]) == DAYS and 0 < len(got["S0"]) < DAYS, (got, kept)


def days_of_readable(base):
    code, out, _ = run(options.wick, "topic", "read", TOPIC, data=data)
    assert code == 4, code
    lines = [json.loads(line) for line in out.decode("latin-1").strip().split("\n")]
    return [(int(row["key"].rsplit("|", 1)[1]) - START) // DAY for row in lines if f":{base}/" in row["key"]]


def importing_again_heals():
    must(options.wick, "import", "--as", "binance-klines", "--series", "binance:S0/USDT", again("S0"), data=data)
    server = serve()
    assert [len(json.loads(ask(server, "S0", first=day)[1])) for day in range(DAYS)] == [1440] * DAYS
    server.stop()


def again(base):
    """The same candles in a file that is not known yet."""
    path = os.path.join(options.scratch, base)
    with open(path, "a") as file:
        file.write("\n")
    return path


for case in (an_error_names_it_and_the_rest_is_served, a_rebuild_restores_the_rest_and_lists_what_is_lost, importing_again_heals):
    report.case(case.__name__.replace("_", "-"), case)
sys.exit(report.done())
