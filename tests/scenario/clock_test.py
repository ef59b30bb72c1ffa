"""The whole program under a wrong clock (libfaketime): in 1970, in 2106, and one that jumps back and forth while it runs.
Candles are a matter of the events alone, watermarks never go back, nothing hangs, and timers go on (docs/faults.md: D13)."""
import ctypes.util, glob, json, os, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from oracle import Oracle
from wick import Report, Server, arguments, must, price_event

options = arguments("wrong clocks")
report = Report()
config = os.path.join(options.scratch, "wick.yaml")
with open(config, "w") as file:
    file.write("checkpoint: {every: 50ms}\n")
MINUTE, DAY = 60_000, 86_400_000
libraries = glob.glob("/usr/lib/*/faketime/libfaketime.so.1") + glob.glob("/usr/lib/faketime/libfaketime.so.1")


class Clock:
    """The wall clock of a server: an offset that a file holds, read again at each call. The monotonic clock is the real one."""

    def __init__(self, name):
        self.path = os.path.join(options.scratch, name + ".clock")
        self.env = {"LD_PRELOAD": libraries[0], "FAKETIME_TIMESTAMP_FILE": self.path, "FAKETIME_NO_CACHE": "1",
                    "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
        self.offset = 0

    def at(self, time_ms):
        self.offset = round(time_ms / 1000 - time.time())
        with open(self.path + ".new", "w") as file:
            file.write(f"{self.offset:+d}\n")
        os.replace(self.path + ".new", self.path)
        return self.now_ms()

    def now_ms(self):
        return int((time.time() + self.offset) * 1000)


class Run:
    def __init__(self, name, clock):
        self.data, self.clock, self.sent, self.watermarks = os.path.join(options.scratch, name), clock, [], {}
        self.server = None

    def start(self):
        self.server = Server(options.wick, self.data, config, self.clock.env)
        self.server.wait_ready()

    def post(self, events):
        lines = [price_event(base, at, price) for base, at, price in events]
        status, body = self.server.request("POST", "/v1/prices", "\n".join(lines), timeout=20)
        assert status == 200 and json.loads(body)["accepted"] == len(lines), (status, body[:300])
        self.sent += lines

    def look(self, bases):
        """Watermarks never go back."""
        for base in bases:
            lane = self.server.json(f"/v1/why?series=kraken:{base}/USD&kind=price&time={self.clock.now_ms()}")["lane"]
            before = self.watermarks.get(base, lane["watermark"])
            assert lane["watermark"] >= before, f"{base}: the watermark went from {before} to {lane['watermark']}"
            self.watermarks[base] = lane["watermark"]

    def clock_is_what_we_say(self):
        """By the server's own clock an event of an hour ahead is refused, and one of now is not."""
        hour_ahead = price_event("T", self.clock.now_ms() + 3600_000, "1")
        status, body = self.server.request("POST", "/v1/prices", hour_ahead)
        said = json.loads(body)
        assert status == 200 and said["accepted"] == 0 and "ahead of the server" in str(said["invalid"]), (status, body)

    def is_alive(self):
        """A checkpoint within moments says that timers go on."""
        self.server.wait_checkpoint(20)

    def compare(self):
        problems = Oracle().compare(options.wick, self.server, self.sent, [])
        assert not problems, "; ".join(problems[:3])


def events(base, start_ms, count=300):
    return [(base, start_ms + i * 400, f"{i * 7919 % 1000}.{i:06d}1") for i in range(count)]


def values(text):
    """Rows of candles without their times."""
    rows = [json.loads(line) for line in text.splitlines()]
    return [{key: row[key] for key in ("open", "high", "low", "close", "trades", "final")} for row in rows]


def candles(run_of, base):
    return values(must(options.wick, "candles", f"kraken:{base}/USD", "--kind", "price", "--format", "json", data=run_of.data))


def a_year(name, start_ms):
    """Its events are of its own time; two minutes later, by its clock, it is stopped and started again."""
    clock = Clock(name)
    clock.at(start_ms)
    one = Run(name, clock)
    one.start()
    try:
        one.clock_is_what_we_say()
        one.post(events("Y", start_ms // MINUTE * MINUTE - 10 * MINUTE))
        one.look("Y")
        one.is_alive()
        assert one.server.stop() == 0
        clock.at(start_ms + 2 * MINUTE)
        one.start()
        one.look("Y")
        one.post(events("Z", start_ms // MINUTE * MINUTE - 5 * MINUTE))
        one.is_alive()
        one.compare()
        assert one.server.stop() == 0
        return candles(one, "Y")
    finally:
        if one.server.process.poll() is None:
            one.server.kill()


def years():
    now = int(time.time() * 1000)
    wanted = a_year("this-year", now)
    assert len(wanted) >= 2, wanted
    for name, start_ms in (("1970", 30 * DAY), ("2106", 4291747200000)):
        report.case(name, lambda: check_year(name, start_ms, wanted))


def check_year(name, start_ms, wanted):
    found = a_year(name, start_ms)
    assert found == wanted, f"{found[:2]}, this year {wanted[:2]}"


def jumps():
    """Hours and years, back and forth, with the same events before and after as under a true clock."""
    start = int(time.time() * 1000)
    clock = Clock("jumps")
    clock.at(start)
    one = Run("jumps", clock)
    one.start()
    try:
        first = start // MINUTE * MINUTE - 60 * MINUTE
        for turn, jump in enumerate((0, -3600_000, 7200_000, -365 * DAY, 0, 20 * 365 * DAY, -56 * 365 * DAY, 5 * MINUTE, 0)):
            clock.at(start + jump)
            time.sleep(0.05)
            if jump >= 0:  # (with the clock behind, events of today are far in the future, and refused as such)
                one.post(events(f"J{turn}", first))
            one.clock_is_what_we_say()
            one.is_alive()
            one.look([f"J{t}" for t in range(turn + 1) if any(f'"J{t}"' in line for line in one.sent)])
        clock.at(start)
        one.compare()
        assert one.server.stop() == 0
    finally:
        if one.server.process.poll() is None:
            one.server.kill()


def main():
    if not libraries:
        report.skip("clocks", "libfaketime is not there (Debian: faketime)")
        return
    report.case("years", years)
    report.case("jumps", jumps)


main()
sys.exit(report.done())
