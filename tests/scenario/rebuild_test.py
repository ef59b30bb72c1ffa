"""`wick fsck --rebuild` where days are sealed: what a sealed row holds already is not folded into it again, whichever way it
came; candles are the same bytes before and after."""
import csv, json, os, random, shutil, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, Server, arguments, must, price_event

options = arguments("rebuilds")
report = Report()
MINUTE, DAY = 60_000, 86_400_000
START = int(time.time() * 1000) // DAY * DAY - 5 * DAY
config = os.path.join(options.scratch, "wick.yaml")
with open(config, "w") as file:
    file.write("checkpoint: {every: 10ms}\n")


def candles(data, series, interval):
    """Without revision and finality, which say what happened since."""
    text = must(options.wick, "candles", series, "--interval", interval, "--limit", "50000", "--format", "csv", data=data).decode()
    return [{name: value for name, value in row.items() if name not in ("revision", "final")} for row in csv.DictReader(text.splitlines())]


def same_after_a_rebuild(data, series):
    before = {interval: candles(data, series, interval) for interval in ("1m", "15m", "1d")}
    assert before["1m"], series
    must(options.wick, "fsck", "--rebuild", data=data)
    for interval, rows in before.items():
        after = candles(data, series, interval)
        wrong = [(a, b) for a, b in zip(rows, after) if a != b]
        assert not wrong and len(after) == len(rows), f"{len(wrong)} of {len(rows)} {interval} candles of {series}: {wrong[:1]}"
    ledger = json.loads(must(options.wick, "ledger", "--format", "json", data=data).splitlines()[0])
    assert ledger["balanced"], ledger


def sealed_blocks(data):
    return len(must(options.wick, "topic", "read", "candles.sealed.1m", "--format", "json", data=data).splitlines())


def prices_of_sealed_days():
    """Live prices, days of them sealed and the last one not; the log has all of them."""
    data = os.path.join(options.scratch, "prices")
    server = Server(options.wick, data, config=config)
    server.wait_ready()

    def post(*events):
        assert server.request("POST", "/v1/prices", "\n".join(events))[0] == 200

    def until_sealed(more_than):
        end, turn = time.monotonic() + 60, 0
        while sealed_blocks(data) <= more_than:  # a day rests for 120 checkpoints
            assert time.monotonic() < end, "nothing was sealed"
            turn += 1
            for i in range(50):
                post(price_event("B", START + 4 * DAY + turn * 1000 + i, f"{turn}.5"))
                time.sleep(0.01)

    for day in range(3):
        post(*(price_event("A", START + day * DAY + i * 20_000, f"{i % 50 + 1}.{i}1") for i in range(600)))
    until_sealed(0)
    server.wait_checkpoint()
    small = sealed_blocks(data)
    post(*(price_event("A", START + 3 * DAY + i * 20_000, f"{i % 7 + 100}.{i}1") for i in range(90)))
    until_sealed(small)
    post(price_event("A", START + 2 * DAY, "0.5"), price_event("A", START + 4 * DAY, "0.25"))
    server.wait_checkpoint()
    assert server.stop() == 0
    same_after_a_rebuild(data, "kraken:A/USD")
    shutil.rmtree(os.path.join(data, "store.old"))
    same_after_a_rebuild(data, "kraken:A/USD")


def capture(name, trades):
    path = os.path.join(options.scratch, name)
    with open(path, "w") as file:
        file.write("wss://stream.binance.com:9443/stream?streams=btcusdt@trade <-> 1.0\n")
        for number, at in trades:
            trade = {"e": "trade", "E": at + 1, "s": "BTCUSDT", "t": number, "p": f"{number % 89 + 1}.5", "q": "0.5", "T": at, "m": number % 3 == 0, "M": True}
            file.write(f"{at / 1000:.3f}: {json.dumps(trade)}\n")
    return path


def imports_and_the_topic():
    """Files by reference and files into the topic, which overlap, with partial minutes at their ends; in each order."""
    for seed in range(6):
        choose = random.Random(seed)
        trades = [(1000 + i, START + i * 7_000 + choose.randrange(3000)) for i in range(900)]
        parts = []
        for turn in range(4):
            first = choose.randrange(0, 700)
            parts.append((trades[first:first + choose.randrange(20, 200)], choose.random() < 0.5))
        data = os.path.join(options.scratch, f"mixed-{seed}")
        for turn, (part, copy) in enumerate([(trades[300:340], False), *parts, (trades[320:400], True)]):
            must(options.wick, "import", *(["--copy"] if copy else []), capture(f"{seed}-{turn}.txt", part), data=data)
        same_after_a_rebuild(data, "binance:BTC/USDT")


def a_hole_within_a_minute():
    """Which of its ids a row lacks nobody knows afterwards: nothing is counted twice, and the minute stays partial."""
    data = os.path.join(options.scratch, "hole")
    trades = [(10 + i, START + i * 5_000) for i in range(40)]
    must(options.wick, "import", capture("hole.txt", [t for t in trades if t[0] not in (15, 29)]), data=data)
    must(options.wick, "import", "--copy", capture("again.txt", [t for t in trades if t[0] not in (15, 29)]), data=data)
    same_after_a_rebuild(data, "binance:BTC/USDT")


for case in (prices_of_sealed_days, imports_and_the_topic, a_hole_within_a_minute):
    report.case(case.__name__.replace("_", "-"), case)
sys.exit(report.done())
