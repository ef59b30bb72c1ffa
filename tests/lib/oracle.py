"""What the log holds, read through the real program and kept; what the candles and the ledger must be by it."""
import decimal, json

from wick import must

MINUTE = 60_000


class Oracle:
    """Topic `prices`; events are told apart by their bytes, so every test makes each of them once."""

    def __init__(self):
        self.next_offset, self.seen, self.candles, self.problems = 0, {}, {}, []

    def read_log(self, wick, data):
        out = must(wick, "topic", "read", "prices", "--from", str(self.next_offset), data=data)
        for line in out.splitlines():
            record = json.loads(line)
            if record["offset"] != self.next_offset:
                self.problems.append(f"offset {record['offset']} follows {self.next_offset - 1}")
            self.next_offset = record["offset"] + 1
            value = record["value"]
            if value.startswith('{"source":'):  # status of a live source
                continue
            if value in self.seen:
                self.problems.append(f"offset {record['offset']} repeats {self.seen[value]}")
            self.seen[value] = record["offset"]
            self.fold(json.loads(value))

    def fold(self, event):
        series = f"{event['exchange']}:{event['baseCurrency']}/{event['quoteCurrency']}"
        at, price = event["timestampInMs"], decimal.Decimal(event["price"])
        key = (series, at // MINUTE * MINUTE)
        c = self.candles.get(key)
        order = (at, price)
        if c is None:
            self.candles[key] = {"first": order, "last": order, "high": price, "low": price, "trades": 1}
            return
        c["first"], c["last"] = min(c["first"], order), max(c["last"], order)
        c["high"], c["low"] = max(c["high"], price), min(c["low"], price)
        c["trades"] += 1

    def compare_events(self, acknowledged, in_doubt):
        problems = list(self.problems)
        lost = [line for line in acknowledged if line not in self.seen]
        if lost:
            problems.append(f"{len(lost)} acknowledged events are not in the log, the first: {lost[0][:200]}")
        sent = {*acknowledged, *in_doubt}
        invented = [value for value in self.seen if value not in sent]
        if invented:
            problems.append(f"{len(invented)} records were never sent, the first: {invented[0][:200]}")
        return problems

    def compare_candles(self, server):
        problems, found = [], 0
        for series in sorted({key[0] for key in self.candles}):
            times = [t for s, t in self.candles if s == series]
            position, end = min(times), max(times) + MINUTE
            while position < end:
                rows = server.json(f"/v1/candles?series={series}&kind=price&interval=1m&from={position}&to={end}&limit=20000")
                for row in rows:
                    if row["trades"] == 0:
                        continue
                    found += 1
                    want = self.candles.get((series, row["open_time"]))
                    if want is None:
                        problems.append(f"{series} {row['open_time']}: a candle without events")
                        continue
                    got = tuple(decimal.Decimal(row[k]) for k in ("open", "high", "low", "close")) + (row["trades"],)
                    expected = (want["first"][1], want["high"], want["low"], want["last"][1], want["trades"])
                    if got != expected:
                        problems.append(f"{series} {row['open_time']}: {got}, the log says {expected}")
                if not rows:
                    break
                position = rows[-1]["open_time"] + MINUTE
        if found != len(self.candles):
            problems.append(f"{found} candles, {len(self.candles)} by the log")
        return problems

    def compare_ledger(self, server):
        ledger = server.json("/v1/ledger")
        rows = [row for row in ledger["rows"] if row["topic"] == "prices"]
        problems = [] if ledger["balanced"] else ["the ledger does not balance"]
        used = sum(row["used"] for row in rows)
        if used != len(self.seen) or any(row[k] for row in rows for k in ("late", "duplicate", "invalid", "pending")):
            problems.append(f"{len(self.seen)} events are in the log, the ledger says {rows}")
        return problems

    def compare(self, wick, server, acknowledged, in_doubt):
        """Everything, of a server that is ready."""
        self.read_log(wick, server.data)
        return self.compare_events(acknowledged, in_doubt) + self.compare_candles(server) + self.compare_ledger(server)
