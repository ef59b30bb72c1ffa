"""The price service as its users see it: what is accepted, refused, repeated, late; what a reader gets."""
import json, os, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, Server, arguments, events_of, must, price_event, rows, run

options = arguments("the price service")
report = Report()
data = os.path.join(options.scratch, "data")
server = Server(options.wick, data)
server.wait_ready()
now = int(time.time() * 1000) // 60000 * 60000 - 3600_000


def post(body, headers=None):
    status, text = server.request("POST", "/v1/prices", body, {"Content-Type": "application/json", **(headers or {})})
    return status, json.loads(text)


def expect(got, want):
    assert got == want, f"{got!r}, not {want!r}"


def one_event_and_its_candle():
    expect(post(price_event("BTC", now, "50000.10", "binance", "USDT")), (200, {"accepted": 1, "duplicate": 0, "invalid": []}))
    row = server.json("/v1/latest?series=binance:btc/usdt")["latest"][0]
    expect((row["series"], row["price"], row["time"], row["kind"]), ("binance:BTC/USDT", "50000.1", now, "price"))
    candle = server.json("/v1/candles?series=binance:BTC/USDT&kind=price&interval=1m")[-1]
    expect((candle["open_time"], candle["open"], candle["trades"], candle["final"]), (now, "50000.1", 1, False))


def numbers_are_exact_either_way():
    text = price_event("EXA", now, "0.1").replace('"price":"0.1"', '"price":0.30000000000000000001')
    expect(post(text)[0], 200)
    expect(server.json("/v1/latest?series=kraken:EXA/USD")["latest"][0]["price"], "0.30000000000000000001")
    expect(post(price_event("EXB", now, "0.1").replace('"price":"0.1"', '"price":1.5e3'))[0], 200)
    expect(server.json("/v1/latest?series=kraken:EXB/USD")["latest"][0]["price"], "1500")


def bad_events_do_not_hold_up_good_ones():
    good, bad = price_event("MIX", now + 1, "7"), price_event("MIX", now + 2, "-7")
    status, said = post(f"[{good},{bad},{price_event('MIX', now + 3, '8')}]")
    expect((status, said["accepted"], [i["index"] for i in said["invalid"]]), (200, 2, [1]))
    records = must(options.wick, "topic", "read", "prices.invalid", "--values", data=data).decode()
    assert bad in records, "the refused event is not in prices.invalid"


def what_is_refused():
    for name, text in (("40-digit", price_event("BAD", now, "1" * 40)), ("year-57111", price_event("BAD", now * 1000, "1")),
                       ("future", price_event("BAD", int(time.time() * 1000) + 600_000, "1")),
                       ("negative-time", price_event("BAD", -1, "1")), ("no-time", price_event("BAD", 0, "1")), ("zero", price_event("BAD", now, "0")), ("nan", price_event("BAD", now, "NaN")),
                       ("double-name", price_event("BAD", now, "1").replace("{", '{"price":"2",', 1)),
                       ("missing", '{"baseCurrency":"BAD"}'), ("wrong-type", price_event("BAD", now, "1").replace('"kraken"', "[]"))):
        status, said = post("[" + text + "]")
        if status == 200:
            assert said["accepted"] == 0 and said["invalid"], f"{name}: accepted: {said}"
        else:
            assert status == 400, f"{name}: {status} {said}"
    for text in ("{", "[1,", "\0\1", "nothing", "[" * 1000):
        status, said = post(text)
        assert status == 400 and said["error"]["code"], f"{text[:10]!r}: {status} {said}"
    expect(server.json("/v1/latest?series=kraken:BAD/USD")["latest"], [])


def lines_are_counted_from_the_first():
    good, bad = price_event("LIN", now, "7"), price_event("LIN", now, "-7")
    for body, index in ((f"\n\n{bad}\n{good}", 2), (f"{good}\n \r\n{bad}\n\n", 2), (f"\n{good}\n\n\n{bad}", 4)):
        status, said = post(body)
        expect((status, said["accepted"], [i["index"] for i in said["invalid"]]), (200, 1, [index]))


def an_untold_volume_is_no_zero():
    event = json.loads(price_event("VOL", now, "7"))
    bare = {name: event[name] for name in event if "Volume" not in name}
    zero = {**bare, "baseVolumeLast24h": 0, "quoteVolumeLast24h": 0}
    expect(post(json.dumps([bare, zero, bare]))[1], {"accepted": 2, "duplicate": 1, "invalid": []})
    expect(post(json.dumps({**bare, "timestampInMs": now + 1}))[0], 200)
    row = server.json("/v1/latest?series=kraken:VOL/USD")["latest"][0]
    expect(sorted(row), ["kind", "price", "series", "time"])
    candle = server.json("/v1/candles?series=kraken:VOL/USD&kind=price&interval=1m")[-1]
    expect(candle["trades"], 3)


def equal_events_are_one():
    line = price_event("DUP", now + 5, "3")
    post(line)
    post(line)
    candle = server.json("/v1/candles?series=kraken:DUP/USD&kind=price&interval=1m")[-1]
    expect(candle["trades"], 1)


def a_retry_with_a_key_is_one_effect():
    body = "\n".join(price_event("KEY", now + i, str(i + 1)) for i in range(20))
    before = len(events_of(must(options.wick, "topic", "read", "prices", "--values", data=data).splitlines()))
    first = post(body, {"Idempotency-Key": "retry-1"})
    again = post(body, {"Idempotency-Key": "retry-1"})
    expect(first, (200, {"accepted": 20, "duplicate": 0, "invalid": []}))
    assert again[0] == 200 and again[1]["accepted"] + again[1]["duplicate"] >= 20, again
    after = len(events_of(must(options.wick, "topic", "read", "prices", "--values", data=data).splitlines()))
    expect(after - before, 20)
    invalid = lambda: must(options.wick, "topic", "read", "prices.invalid", "--values", data=data).splitlines().count(b'{"retry":2}')
    for _ in range(3):
        said = post(f'{price_event("KEY", now + 30, "1")}\n{{"retry":2}}\n{{"retry":2}}', {"Idempotency-Key": "retry-2"})[1]
        expect((said["accepted"] + said["duplicate"], [i["index"] for i in said["invalid"]], invalid()), (1, [1, 2], 2))


def order_does_not_matter_within_the_grace():
    times = [0, 4000, 1000, 9000, 3000, 59000, 55000, 58000]
    for base, order in (("ORA", times), ("ORB", sorted(times)), ("ORC", times[::-1][2:] + times[::-1][:2])):
        if base == "ORC":
            order = sorted(times[:5], reverse=True) + sorted(times[5:], reverse=True)
        for offset in order:
            expect(post(price_event(base, now + offset, str(100 + offset)))[1]["accepted"], 1)
    candles = [server.json(f"/v1/candles?series=kraken:{b}/USD&kind=price&interval=1m")[-1] for b in ("ORA", "ORB", "ORC")]
    fields = ("open", "high", "low", "close", "trades", "open_time")
    wanted = {"open": "100", "high": "59100", "low": "100", "close": "59100", "trades": 8, "open_time": now}
    for row in candles:
        expect({f: row[f] for f in fields}, wanted)


def late_events_are_counted_and_kept():
    before = server.json("/v1/ledger")["rows"]
    post(price_event("LAT", now + 60_000, "5"))
    late = price_event("LAT", now, "4")
    post(late)
    after = server.json("/v1/ledger")
    assert after["balanced"], after
    total = lambda ledger: sum(r["late"] for r in ledger if r["topic"] == "prices")
    expect(total(after["rows"]) - total(before), 1)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if late in must(options.wick, "topic", "read", "prices.late", "--values", data=data).decode():
            return
        time.sleep(0.1)
    raise AssertionError("the late event is not in prices.late")


def every_way_to_ask_for_the_latest():
    post("[" + ",".join(price_event("WAY", now, "9", v, q) for v in ("binance", "huobi") for q in ("USDT", "EUR")) + "]")
    answer = json.loads(server.request("POST", "/v1/latest", json.dumps(
        [{"baseCurrency": "way", "quoteCurrency": "usdt", "exchange": "Binance"}, "huobi:WAY/EUR", "huobi:NO/PE"]))[1])
    expect(([r["series"] for r in answer["latest"]], len(answer["missing"])), (["binance:WAY/USDT", "huobi:WAY/EUR"], 1))
    expect(len(server.json("/v1/latest?base=WAY")["latest"]), 4)
    expect(len(server.json("/v1/latest?group=base")["WAY"]), 4)
    series = [row for row in server.json("/v1/series?base=WAY")]
    expect(sorted(row["venue"] for row in series), ["binance", "binance", "huobi", "huobi"])
    results = json.loads(server.request("POST", "/v1/query", json.dumps(
        [{"latest": "huobi:WAY/EUR"}, {"candles": {"series": "huobi:WAY/EUR", "kind": "price", "interval": "1m", "limit": 5}}]))[1])["results"]
    expect(len(results), 2)


def bad_questions_get_400():
    for path in ("/v1/candles", "/v1/candles?series=x", "/v1/candles?series=binance:BTC/USDT&interval=7x",
                 "/v1/candles?series=binance:BTC/USDT&from=yesterday", "/v1/candles?series=binance:BTC/USDT&tz=Mars/North"):
        status, body = server.get(path)
        assert status in (400, 404) and "error" in json.loads(body), f"{path}: {status} {body[:200]!r}"
    zone = "/v1/candles?series=binance:BTC/USDT&tz=Africa/Monrovia"  # until 1972 44 min 30 s behind UTC
    said = json.loads(server.get(zone)[1])["error"]
    expect((said["code"], said["at"], "by from and to" in said["message"]), ("range", "tz", True))
    expect(server.get(zone + "&from=1980-01-01")[0], 200)
    expect(server.get("/nothing")[0], 404)
    expect(server.request("DELETE", "/v1/prices")[0], 405)


def the_commands_beside_a_running_program():
    expect(rows(options.wick, "candles", "binance:BTC/USDT", "--interval", "1m", data=data)[-1]["open_time"], now)
    must(options.wick, "ledger", data=data)
    must(options.wick, "series", data=data)
    must(options.wick, "latest", data=data)
    code, out, err = run(options.wick, "latest", "binance:BTC/USDT", "nowhere:NO/PE", "--format", "json", data=data)
    expect((code, len(out.splitlines())), (0, 1))
    assert b"nowhere:NO/PE" in err, err
    expect(must(options.wick, "latest", "--url", f"http://127.0.0.1:{server.port}/"), must(options.wick, "latest", data=data))
    why = must(options.wick, "why", "binance:BTC/USDT", str(now), data=data).decode()
    said = rows(options.wick, "candles", "binance:BTC/USDT", "--from", str(now), "--limit", "1", data=data)[0]["hash"]
    assert f"hash {said}. The hash is the sum" in why, why


def after_a_restart_and_a_rebuild_the_same_candles():
    global server
    paths = [f"/v1/candles?series=kraken:{b}/USD&kind=price&interval=1m" for b in ("ORA", "DUP", "KEY", "LAT", "MIX", "VOL")]
    paths.append("/v1/latest?series=kraken:VOL/USD&series=kraken:DUP/USD")
    before = [server.json(p) for p in paths]
    expect(server.stop(), 0)
    server = Server(options.wick, data)
    server.wait_ready()
    expect([server.json(p) for p in paths], before)
    server.stop()
    must(options.wick, "fsck", data=data)
    must(options.wick, "fsck", "--rebuild", data=data)
    server = Server(options.wick, data)
    server.wait_ready()
    expect([server.json(p) for p in paths], before)


for case in (one_event_and_its_candle, numbers_are_exact_either_way, bad_events_do_not_hold_up_good_ones, what_is_refused,
             lines_are_counted_from_the_first, an_untold_volume_is_no_zero, equal_events_are_one, a_retry_with_a_key_is_one_effect, order_does_not_matter_within_the_grace,
             late_events_are_counted_and_kept, every_way_to_ask_for_the_latest, bad_questions_get_400,
             the_commands_beside_a_running_program, after_a_restart_and_a_rebuild_the_same_candles):
    report.case(case.__name__.replace("_", "-"), case)
server.stop()
sys.exit(report.done())
