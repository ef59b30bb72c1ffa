"""WS /v1/stream of the real program: who watches is told of what an import beside the server changed, also by its cursor; and
what it was told last of each minute is what a read gives."""
import json, os, subprocess, sys, threading, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from stream import Stream
from wick import Report, Server, arguments, must, price_event

options = arguments("the stream")
report = Report()
MINUTE = 60_000
START = int(time.time() * 1000) // MINUTE * MINUTE - 8 * 3600_000


def file_of(name, text):
    path = os.path.join(options.scratch, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def trades(first, last):
    """Trades of BTCUSDT with these ids, six a minute."""
    rows = []
    for i in range(first, last):
        at = START + i * 10_000
        row = {"e": "trade", "E": at, "s": "BTCUSDT", "t": i, "p": f"{100 + i % 7}", "q": "0.5", "b": 1, "a": 2, "T": at, "m": False, "M": True}
        rows.append(f"{at} {json.dumps(row)}\n")
    return file_of(f"trades-{first}.txt", "".join(rows))


def klines(first, count):
    rows = [f"{START + m * MINUTE},5,9,4,8,1.5,{START + m * MINUTE + 59_999},9,3,0,0,0\n" for m in range(first, first + count)]
    return file_of("BTCUSDT-1m-2023-12-01.csv", "".join(rows))


def serve(name):
    server = Server(options.wick, os.path.join(options.scratch, name))
    server.wait_ready()
    return server


def watch(server, series, **more):
    stream = Stream(server.port)
    stream.send({"subscribe": [{"series": series, "interval": "1m"}], "snapshot": 1000, **more})
    return stream, stream.until(lambda m: m["type"] == "snapshot")


def by_minute(candles):
    return {(c["open_time"] - START) // MINUTE: c for c in candles}


def is_reset(message):
    return message["type"] == "snapshot" and message.get("reset")


def imported_beside():
    server = serve("beside")
    try:
        must(options.wick, "import", "--as", "binance-stream", trades(0, 60), data=server.data)
        must(options.wick, "import", "--as", "binance-stream", trades(120, 180), data=server.data)
        stream, first = watch(server, "binance:BTCUSDT")
        seen = by_minute(first["candles"])
        assert not first.get("reset") and 15 not in seen and seen[9]["coverage"] == "partial", seen
        must(options.wick, "import", "--as", "binance-stream", trades(60, 120), data=server.data)
        told = stream.until(is_reset)
        seen = by_minute(told["candles"])
        assert [seen[m]["coverage"] for m in range(1, 29)] == ["traded"] * 28, seen
        stream.close()
        # Who was away meanwhile gets it by the cursor of before.
        again, resumed = watch(server, "binance:BTCUSDT", cursor=first["cursor"])
        assert is_reset(resumed) and by_minute(resumed["candles"]) == seen, resumed
        # Klines lie beside the trades, and no task has them; they are told all the same.
        must(options.wick, "import", "--as", "binance-klines", "--venue", "binance", klines(-20, 10), data=server.data)
        seen = by_minute(again.until(is_reset)["candles"])
        assert seen[-20]["basis"] == "klines" and seen[-20]["close"] == "8" and seen[15]["basis"] == "trades", seen
        again.close()
    finally:
        server.stop()


def nothing_is_lost_beside_imports():
    """Prices go on, and minutes end, while files are imported: every last value was told."""
    server = serve("live")
    minutes, told, ended = 150, {}, threading.Event()
    try:
        status, body = server.request("POST", "/v1/prices", price_event("A", START, "1"))
        assert status == 200, body
        stream, first = watch(server, "kraken:A/USD")

        def listen():
            for candle in first["candles"]:
                told[candle["open_time"]] = candle
            while (message := stream.next(1)) is not None or not ended.is_set():
                message = message or {}
                for candle in message.get("candles", [message["candle"]] if "candle" in message else []):
                    told[candle["open_time"]] = candle

        listener = threading.Thread(target=listen)
        listener.start()
        importer = subprocess.Popen(["sh", "-ec", f"for i in 1 2 3 4; do echo '{price_event('B', START, '1')}' > {options.scratch}/b.jsonl; "
                                     f"sed -i s/:{START}/:$(({START} + $i))/ {options.scratch}/b.jsonl; "
                                     f"{options.wick} import {options.scratch}/b.jsonl --data {server.data} >/dev/null 2>&1; done"])
        for i in range(1, minutes * 2):
            status, body = server.request("POST", "/v1/prices", price_event("A", START + i * 30_000, f"{i}"))
            assert status == 200, body
        assert importer.wait(120) == 0
        def read():
            return {c["open_time"]: c for c in server.json("/v1/candles?series=kraken:A/USD&limit=1000")}

        before = read()
        ended.set()
        listener.join()
        now = read()  # (a minute may be over since)
        assert len(now) == minutes, len(now)
        wrong = [(told.get(at), candle) for at, candle in now.items() if told.get(at) not in (candle, before.get(at))]
        assert not wrong, f"{len(wrong)} of {len(now)}: told {wrong[0][0]}, is {wrong[0][1]}"
        assert len(server.json("/v1/ledger")["rows"]) == 5
        stream.close()
    finally:
        server.stop()


for case in (imported_beside, nothing_is_lost_beside_imports):
    report.case(case.__name__.replace("_", "-"), case)
sys.exit(report.done())
