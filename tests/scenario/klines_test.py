"""Klines from files: several at once give what one after the other gives; a killed import shows nothing, not even after a
rebuild; a rebuild gives the same candles again."""
import json, os, random, signal, subprocess, sys, time, zipfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, arguments, must, run

options = arguments("klines from files")
report = Report()
START, DAY = 1_701_388_800_000, 86_400_000  # 2023-12-01: a month and a year end within sixty days


def rows(seed, first_day, days):
    chance = random.Random(f"{seed} {first_day}")
    price, lines = 10_000 + seed * 7, []
    for minute in range(first_day * 1440, (first_day + days) * 1440):
        if minute % 1441 == 700:
            continue  # a hole now and then
        close = max(price + chance.randint(-50, 50), 100)
        high, low = max(price, close) + chance.randint(0, 30), min(price, close) - chance.randint(0, 30)
        volume = chance.randint(1, 10**6)
        t = START + minute * 60_000
        lines.append(f"{t},{price / 100:.2f},{high / 100:.2f},{low / 100:.2f},{close / 100:.2f},{volume / 10**4:.4f},{t + 59_999},"
                     f"{volume * price // 100}.5,{chance.randint(1, 99)},0,0,0\n")
        price = close
    return "".join(lines)


def write(name, text):
    path = os.path.join(options.scratch, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def folder(name):
    return os.path.join(options.scratch, name)


def candles(data, base):
    said = {}
    for interval in ("1m", "15m", "4h", "1d", "1M"):
        for last in (START + 40 * DAY, START + 70 * DAY):
            out = must(options.wick, "candles", f"binance:{base}/USDT", "--interval", interval, "--from", str(START), "--to", str(last),
                       "--limit", "5000", "--format", "json", data=data)
            said[interval, last] = out
    return said


def several_are_one_after_the_other():
    files = []
    for seed in range(5):
        files.append(write(f"S{seed}USDT-1m-2023-12.csv", rows(seed, 0, 31)))
        files.append(write(f"S{seed}USDT-1m-2024-01.csv", rows(seed, 31, 29)))
    bad = write("S9USDT-1m-2023-12.csv", "this is no kline\n" * 3)
    zipped = os.path.join(options.scratch, "S5USDT-1m-2023-12.zip")
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("S5USDT-1m-2023-12.csv", rows(5, 0, 3))
    files = files[:4] + [bad, files[3]] + files[4:] + [zipped]  # one of them twice in a row
    words = ("--as", "binance-klines", "--venue", "binance", "--format", "json")
    code, out, _ = run(options.wick, "import", *words, *files, os.path.join(options.scratch, "missing.csv"), data=folder("together"))
    assert code != 0, "a missing file was not told"
    together = [json.loads(line) for line in out.splitlines()]
    apart = [json.loads(must(options.wick, "import", *words, path, data=folder("apart"))) for path in files]
    assert together == apart, f"{together}\n{apart}"
    assert [row["import"] for row in together] == [1, 2, 3, 4, 5, 4] + list(range(6, 13)), [row["import"] for row in together]
    for base in ("S0", "S1", "S4", "S5"):
        assert candles(folder("together"), base) == candles(folder("apart"), base), base


def a_rebuild_gives_the_same():
    data = folder("together")
    before = [candles(data, base) for base in ("S0", "S3")]
    must(options.wick, "fsck", "--rebuild", data=data)
    assert [candles(data, base) for base in ("S0", "S3")] == before
    again = json.loads(must(options.wick, "import", "--as", "binance-klines", os.path.join(options.scratch, "S0USDT-1m-2023-12.csv"),
                            "--format", "json", data=data))
    assert again["repeated"], again


def a_rebuild_tells_what_it_cannot():
    data = folder("trades")
    text = "".join(f"{START + i * 20_000},{100 + i % 7}.5,1.25,{i + 1}\n" for i in range(9000))
    path = write("trades.csv", text)
    must(options.wick, "import", "--columns", "time,price,quantity,id", "--time-unit", "ms", "--series", "binance:T/USDT", path, data=data)
    before = candles(data, "T")
    said = must(options.wick, "fsck", "--rebuild", data=data)
    said = said if isinstance(said, str) else said.decode()
    assert "not restored: of import 1, " in said and "ids of its trades" in said, said
    assert candles(data, "T") == before


def sealed_bytes(data):
    path = os.path.join(data, "log", "candles.sealed.1m-0")
    return sum(os.path.getsize(os.path.join(path, name)) for name in os.listdir(path) if name.endswith(".log")) if os.path.isdir(path) else 0


def a_killed_import_never_shows():
    path, data = write("KUSDT-1m-2023.csv", rows(77, 0, 120)), folder("killed")
    must(options.wick, "import", "--as", "binance-klines", os.path.join(options.scratch, "S0USDT-1m-2023-12.csv"), data=data)
    done = sealed_bytes(data)
    words = [options.wick, "import", "--as", "binance-klines", path, "--data", data]
    for attempt in range(20):
        fifo = os.path.join(options.scratch, f"pipe{attempt}")
        os.mkfifo(fifo)
        process = subprocess.Popen([*words[:4], "--series", "binance:K/USDT", fifo, "--data", data], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        with open(path, "rb") as source, open(fifo, "wb", buffering=0) as sink:
            sink.write(source.read(os.path.getsize(path) - 1000))  # the end does not come
            for _ in range(200):
                if sealed_bytes(data) > done + 100_000:
                    break
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
        if sealed_bytes(data) > done + 100_000:
            break
    assert sealed_bytes(data) > done + 100_000, "no block was written before the kill"
    code, out, _ = run(options.wick, "candles", "binance:K/USDT", "--interval", "1d", "--format", "csv", data=data)
    assert code != 0 or out.count(b"\n") <= 1, out[:200]
    must(options.wick, "fsck", "--rebuild", data=data)
    code, out, _ = run(options.wick, "candles", "binance:K/USDT", "--interval", "1d", "--from", str(START), "--to", str(START + 300 * DAY),
                       "--format", "csv", data=data)
    assert code != 0 or out.count(b"\n") <= 1, out[:200]
    must(*words[:-2], data=data)
    must(options.wick, "import", "--as", "binance-klines", path, data=folder("whole"))
    assert candles(data, "K") == candles(folder("whole"), "K")


def any_order_gives_the_same():
    """A day that comes back after others, rows of a day in any order, whole files backwards: the candles are those of the file in
    order, whatever lay there before, beside others that are read at the same time."""
    lines = rows(21, 0, 40).splitlines(True)
    chance = random.Random(options.seed)
    days = [lines[i:i + 1440] for i in range(0, len(lines), 1440)]
    chance.shuffle(days)
    shuffled = list(lines)
    chance.shuffle(shuffled)
    orders = {
        "back": lines[3000:] + lines[:3000],
        "days": [line for day in days for line in day],
        "backwards": lines[::-1],
        "shuffled": shuffled[:9000] + ["no kline\n"] + shuffled[9000:],
        "one": lines[:1000] + lines[1001:9000] + lines[1000:1001] + lines[9000:],
    }
    words = ("--as", "binance-klines", "--series", "binance:O/USDT", "--format", "json")
    said = json.loads(must(options.wick, "import", *words, write("ordered.csv", "".join(lines)), data=folder("ordered")))
    expected = candles(folder("ordered"), "O")
    for name, order in orders.items():
        path, bad = write(f"{name}.csv", "".join(order)), int(name == "shuffled")
        got = json.loads(must(options.wick, "import", *words, path, data=folder(name)))
        assert (got["late"], got["invalid"], got["used"]) == (0, bad, len(lines)), (name, got)
        assert got["from"] == said["from"] and got["to"] == said["to"], (name, got, said)
        assert candles(folder(name), "O") == expected, name
        must(options.wick, "fsck", "--rebuild", data=folder(name))
        assert candles(folder(name), "O") == expected, f"{name}, made again"
    refused = must(options.wick, "topic", "read", "imports.invalid", data=folder("shuffled")).splitlines()
    assert len(refused) == 1 and json.loads(refused[0])["headers"]["line"] == "9001", refused
    beside = [os.path.join(options.scratch, f"S{seed}USDT-1m-2023-12.csv") for seed in (0, 1, 2)]
    names = [write("OUSDT-1m-a.csv", "".join(orders["shuffled"])), *beside, write("OUSDT-1m-b.csv", rows(22, 20, 30))]
    words = ("--as", "binance-klines", "--venue", "binance", "--format", "json")
    together = [json.loads(line) for line in must(options.wick, "import", *words, *names, data=folder("beside")).splitlines()]
    apart = [json.loads(must(options.wick, "import", *words, name, data=folder("beside-apart"))) for name in names]
    assert together == apart, f"{together}\n{apart}"
    for base in ("O", "S0", "S2"):
        assert candles(folder("beside"), base) == candles(folder("beside-apart"), base), base


def a_pipe_must_be_in_order():
    lines = rows(23, 0, 3).splitlines(True)
    words = [options.wick, "import", "--as", "binance-klines", "--series", "binance:P/USDT", "-", "--data", folder("pipe")]
    said = subprocess.run(words, input="".join(lines[2000:] + lines[:2000]), capture_output=True, text=True)
    assert said.returncode == 3 and "import them as a file" in said.stderr, said
    said = subprocess.run(words, input="".join(lines), capture_output=True, text=True)
    assert said.returncode == 0, said


def other_lengths_are_refused_by_line():
    text = f"{START},1,2,1,2,5,{START + 3_599_999},5,3,0,0,0\n"
    path = write("LUSDT-1h-2023-12.csv", "open_time,open,high,low,close,volume,close_time,quote,count,a,b,c\n\n" + text)
    code, _, err = run(options.wick, "import", "--as", "binance-klines", path, data=folder("lengths"))
    assert code == 0 and b"nothing in it could be used; wick topic read imports.invalid" in err, (code, err)
    refused = json.loads(must(options.wick, "topic", "read", "imports.invalid", data=folder("lengths")))
    assert refused["headers"]["line"] == "3" and refused["value"] == text.strip(), refused
    assert refused["headers"]["reason"] == "interval" and "1m" in refused["headers"]["detail"], refused


report.case("several-at-once", several_are_one_after_the_other)
report.case("rebuild", a_rebuild_gives_the_same)
report.case("rebuild-lists-losses", a_rebuild_tells_what_it_cannot)
report.case("any-order", any_order_gives_the_same)
report.case("pipe", a_pipe_must_be_in_order)
report.case("other-lengths", other_lengths_are_refused_by_line)
report.case("killed", a_killed_import_never_shows)
sys.exit(report.done())
