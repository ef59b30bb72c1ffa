"""/openapi.json says what the answers are: each route's real ones, and errors, are held against it."""
import copy, http.client, json, os, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from schema import answer_schema, problems
from wick import Report, Server, arguments, must, price_event

options = arguments("the contract of the API")
report = Report()
MINUTE = 60_000
START = int(time.time() * 1000) // MINUTE * MINUTE - 2 * 3600_000
server = Server(options.wick, os.path.join(options.scratch, "data"))
server.wait_ready()
asked = set()


def file_of(name, text):
    path = os.path.join(options.scratch, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def fill():
    """Trades with a hole, klines, prices, a late one, an invalid one."""
    rows = []
    for i in [*range(40), *range(60, 100)]:
        at = START + i * 10_000
        row = {"e": "trade", "E": at, "s": "BTCUSDT", "t": i, "p": f"{100 + i % 7}.5", "q": "0.5", "b": 1, "a": 2, "T": at, "m": False, "M": True}
        rows.append(f"{at} {json.dumps(row)}\n")
    must(options.wick, "import", "--as", "binance-stream", file_of("trades.txt", "".join(rows)), data=server.data)
    rows = [f"{START + m * MINUTE},5,9,4,8,1.5,{START + m * MINUTE + 59_999},9,3,0,0,0\n" for m in range(30, 40)]
    must(options.wick, "import", "--as", "binance-klines", "--venue", "binance", file_of("ETHUSDT-1m-2023-12-01.csv", "".join(rows)),
         data=server.data)
    lines = [price_event("A", START + i * 20_000, f"{i}.25") for i in range(30)] + [price_event("A", START, "7"), "{}"]
    ask("POST", "/v1/prices", "\n".join(lines), 200)


def ask(method, target, body=None, status=None):
    """One request; its answer must be as described. Returns it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(method, target, body)
    answer = connection.getresponse()
    text, kind = answer.read().decode(), answer.headers["Content-Type"]
    connection.close()
    assert status is None or answer.status == status, f"{method} {target}: {answer.status} {text[:200]}"
    path = target.split("?")[0]
    value = json.loads(text) if kind == "application/json" else text
    if path in document["paths"]:
        asked.add((method.lower(), path))
        found = problems(document, answer_schema(document, method, path, answer.status, kind), value)
    else:
        found = problems(document, {"$ref": "#/components/schemas/error"}, value)
    assert not found, f"{method} {target}: {answer.status}: {found[:3]}"
    return value


def answers():
    pair = {"baseCurrency": "A", "quoteCurrency": "USD", "exchange": "kraken"}
    for target in ("/v1/latest", "/v1/latest?series=kraken:A/USD&series=no:NO/PE", "/v1/latest?group=base", "/v1/latest?base=BTC",
                   "/v1/latest?base=NOPE", "/v1/candles?series=kraken:A/USD", "/v1/candles?series=binance:BTCUSDT&interval=5m",
                   "/v1/candles?series=binance:ETHUSDT", "/v1/candles?series=binance:ETHUSDT&interval=1d&tz=Europe/Berlin",
                   "/v1/candles?series=kraken:A/USD&format=csv", "/v1/candles?series=kraken:A/USD&format=ndjson", "/v1/series",
                   f"/v1/why?series=kraken:A/USD&time={START}", f"/v1/why?series=binance:BTCUSDT&time={START + 7 * MINUTE}",
                   f"/v1/why?series=binance:ETHUSDT&time={START + 30 * MINUTE}", "/v1/why?series=kraken:A/USD&time=1", "/v1/gaps",
                   "/v1/gaps?series=binance:BTCUSDT", "/v1/ledger", "/v1/status", "/metrics", "/healthz", "/readyz", "/openapi.json"):
        ask("GET", target, status=200)
    ask("POST", "/v1/latest", json.dumps(["binance:BTCUSDT", pair, "no:NO/PE"]), 200)
    ask("POST", "/v1/candles", json.dumps([{"series": "kraken:A/USD", "limit": 3}, {"series": "no:NO/PE"}]), 200)
    ask("POST", "/v1/query", json.dumps([{"latest": "kraken:A/USD"}, {"latest": "no:NO/PE"}, {"x": 1},
                                         {"candles": {"series": "binance:BTCUSDT", "interval": "15m"}}]), 200)
    assert len(ask("GET", "/v1/gaps")) == 1 and ask("GET", "/v1/candles?series=binance:ETHUSDT")[0]["hash"] is None
    left = {(method, path) for path, methods in document["paths"].items() for method in methods} - asked
    assert not left, f"not asked: {left}"


def errors():
    for method, target, body, status in (
            ("GET", "/v1/candles", None, 400), ("GET", "/v1/candles?series=no:NO/PE", None, 404), ("GET", "/v1/candles?frm=1", None, 400),
            ("GET", "/v1/latest?kind=nft", None, 400), ("GET", "/v1/latest?group=x", None, 400), ("GET", "/v1/why?series=kraken:A/USD", None, 400),
            ("POST", "/v1/prices", "[", 400), ("POST", "/v1/prices", "{}\n" * 100_001, 413), ("POST", "/v1/latest", "{}", 400),
            ("POST", "/v1/query", "7", 400), ("GET", "/v1/nothing", None, 404), ("DELETE", "/v1/nothing", None, 404)):
        ask(method, target, body, status)


def bodies():
    """What the document says of bodies holds for those that are taken."""
    event = json.loads(price_event("A", START, "1.5"))
    bare = {name: event[name] for name in event if "Volume" not in name}
    for path, body in (("/v1/prices", event), ("/v1/prices", [event, {**event, "price": 1.5}, bare]), ("/v1/latest", ["binance:BTCUSDT"]),
                       ("/v1/candles", [{"series": "kraken:A/USD", "interval": "1h", "from": "-2h", "limit": 3}]),
                       ("/v1/query", [{"latest": "kraken:A/USD"}, {"candles": {"series": "kraken:A/USD", "from": START}}])):
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert not (found := problems(document, schema, body)), (path, found)
        ask("POST", path, json.dumps(body), 200)
    assert "application/x-ndjson" in document["paths"]["/v1/prices"]["post"]["requestBody"]["content"]


def bodies_that_are_refused():
    """What a body may not hold, by the document, is not taken either."""
    event = json.loads(price_event("A", START, "1.5"))
    missing = [{name: event[name] for name in event if name != left_out} for left_out in event if "Volume" not in left_out]
    query = {"series": "kraken:A/USD"}
    for name in ("price_event", "pair", "candles_query", "latest_member", "candles_member"):
        assert document["components"]["schemas"][name]["additionalProperties"] is False, name
    for path, element in [("/v1/prices", one) for one in (*missing, {**event, "x": 1})] + [
            ("/v1/latest", {"baseCurrency": "A", "quoteCurrency": "USD", "exchange": "kraken", "x": 1}), ("/v1/latest", {}),
            ("/v1/candles", {**query, "format": "csv"}), ("/v1/candles", {"interval": "1m"}), ("/v1/query", {"latest": "kraken:A/USD", "x": 1}),
            ("/v1/query", {"candles": {**query, "frm": START}})]:
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert problems(document, schema, [element]), (path, element)
        said = ask("POST", path, json.dumps([element]))
        assert said.get("error") or said.get("invalid") or "error" in said["results"][0], (path, element, said)


def references():
    """Each leads somewhere, and nothing is described that is not used."""
    def walk(part):
        if isinstance(part, dict):
            yield from [part["$ref"]] if "$ref" in part else []
            part = list(part.values())
        for child in part if isinstance(part, list) else []:
            yield from walk(child)

    used = set(walk(document))
    known = {f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in document["components"][kind]}
    assert used == known, used ^ known


def what_differs_is_seen():
    """The validator itself: an answer with a member more, less, or of another type is found."""
    good = ask("GET", "/v1/candles?series=kraken:A/USD&limit=1")
    schema = answer_schema(document, "GET", "/v1/candles", 200, "application/json")
    for name in good[0]:
        for change in ("drop", "type", "more"):
            bad = copy.deepcopy(good)
            if change == "drop":
                del bad[0][name]
            elif change == "type":
                bad[0][name] = {"x": 1}
            else:
                bad[0][name + "_"] = bad[0][name]
            optional = change == "drop" and name in ("reason", "conflict")
            assert bool(problems(document, schema, bad)) != optional, (name, change)


document = server.json("/openapi.json")
for case in (fill, answers, errors, bodies, bodies_that_are_refused, references, what_differs_is_seen):
    report.case(case.__name__.replace("_", "-"), case)
report.check("stops-cleanly", server.stop() == 0)
sys.exit(report.done())
