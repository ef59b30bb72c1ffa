"""A request with an Idempotency-Key is killed at each append and each sync on its way, between its events and the record of
the key too; whatever the client then knows, sending it again makes it one effect."""
import http.client, json, os, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, Server, arguments, price_event

APPEND, SYNC = 0, 1  # src/sys/phase.h
TURNS_MAX = 30

options = arguments("kills a request with an Idempotency-Key, and sends it again")
report = Report()
data, config = os.path.join(options.scratch, "data"), os.path.join(options.scratch, "wick.yaml")
with open(config, "w") as file:
    file.write("topics:\n  prices_partitions: 2\n")
start = int(time.time() * 1000) - 3_600_000
sent, cut_off, outcomes = 0, 0, set()


def post(server, body, key):
    """(accepted, duplicate), or None where the answer was lost."""
    try:
        answer = server.request("POST", "/v1/prices", body, {"Content-Type": "application/json", "Idempotency-Key": key})
    except (OSError, http.client.HTTPException):
        return None
    status, text = answer
    assert status == 200, answer
    parsed = json.loads(text)
    return parsed["accepted"], parsed["duplicate"]


def folded(server):
    rows = [row for row in server.json("/v1/ledger")["rows"] if row["topic"] == "prices"]
    return sum(row["used"] for row in rows), sum(row["duplicate"] + row["late"] for row in rows)


def one_turn(phase, count, end):
    """True once the request outran the kill."""
    global sent, cut_off
    sent += 1
    time_ms = start + sent * 1000
    # Of six bases some go to each of the two partitions.
    events = [price_event(f"R{i}", time_ms, f"{sent}.{i + 1}") for i in range(6)]
    body, key = "[" + ",".join(events) + "]", f"retry-{sent}"
    server = Server(options.wick, data, config, {"WICK_KILL": f"{phase},{count},{end}"})
    first = None
    try:
        server.wait_ready()
        first = post(server, body, key)
    except RuntimeError:
        pass  # killed while it started
    server.kill()
    server = Server(options.wick, data, config)
    server.wait_ready()
    again, third = post(server, body, key), post(server, body, key)
    used = folded(server)
    server.kill()
    assert first in (None, (6, 0)), first
    assert sum(again) == 6 and (first is None or again == (0, 6)), (first, again)
    assert third == (0, 6), third
    assert used == (6 * sent, 0), f"{used} after {sent} requests of 6 events"
    cut_off += first is None
    if first is None:
        outcomes.add(again[0])
    return first is not None


def sweep(phase, end):
    for count in range(1, TURNS_MAX + 1):
        if one_turn(phase, count, end):
            return
    raise AssertionError(f"{TURNS_MAX} kills, and the request was never through")


server = Server(options.wick, data, config)  # the folder is made, so that few syncs come before the request
server.wait_ready()
assert server.stop() == 0
for name, phase, end in (("before-append", APPEND, 0), ("after-append", APPEND, 1), ("before-sync", SYNC, 0), ("after-sync", SYNC, 1)):
    report.case(name, sweep, phase, end)
print(f"{sent} requests, {cut_off} cut off; new at the retry: {sorted(outcomes)} of 6")
# The interesting one: the events were on disk, the client did not know, and the key's record was not written.
report.check("events-without-their-key", 0 in outcomes, str(outcomes))
sys.exit(report.done())
