"""A full disk and a failing one: on a small file system filled to its last byte at each step of a life, under a limit of
file size, and with a sync that fails in the kernel."""
import http.client, json, os, resource, signal, subprocess, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from oracle import Oracle
from wick import Report, Server, arguments, must, price_event

options = arguments("full and failing disks")
report = Report()
START = int(time.time() * 1000) // 86400_000 * 86400_000 - 20 * 86400_000
PATIENCE = 20
EXIT_IO, EXIT_NOT_NOW = 5, 6
config = os.path.join(options.scratch, "small.yaml")
with open(config, "w") as file:
    file.write("log: {segment: 2MiB, reserve: 8MiB}\nstore: {map: 64MiB}\ncheckpoint: {every: 50ms}\n")


class Folder:
    """A data folder, what was sent to its servers, and what is known of it."""

    def __init__(self, data):
        self.data, self.server = data, None
        self.acknowledged, self.in_doubt, self.counter = [], [], 0

    def start(self, **more):
        self.server = Server(options.wick, self.data, config, **more)
        self.server.wait_ready()

    def lines(self, count):
        first, self.counter = self.counter, self.counter + count
        return [price_event(f"D{n % 5}", START + n * 100, f"{n * 7919 % 1000}.{n:07d}1") for n in range(first, first + count)]

    def post(self, count=2000):
        """(status, error code); 503 must say when to come again."""
        lines = self.lines(count)
        try:
            status, body, headers = self.server.exchange("POST", "/v1/prices", "\n".join(lines))
        except (OSError, http.client.HTTPException):
            self.in_doubt += lines
            return None, None
        if status == 200:
            assert json.loads(body)["accepted"] == count, body
            self.acknowledged += lines
            return status, None
        self.in_doubt += lines
        error = json.loads(body)["error"]
        assert status != 503 or int(headers["Retry-After"]) >= 1, headers
        return status, error["code"]

    def post_until(self, wanted, most=400, pause=0.0, count=2000):
        for _ in range(most):
            if self.post(count)[0] == wanted:
                return True
            time.sleep(pause)
        return False

    def reads_go_on(self, series="kraken:D1/USD"):
        assert len(self.server.json(f"/v1/latest?series={series}")["latest"]) == 1
        rows = self.server.json(f"/v1/candles?series={series}&kind=price&from={START}&to={START + 600_000}")
        assert rows and rows[0]["trades"] > 0, rows
        assert self.server.get("/healthz")[0] == 200

    def checkpoints(self):
        self.server.wait_checkpoint(PATIENCE)

    def ends_well(self):
        """A clean stop, and a start that finds everything."""
        assert self.server.stop() == 0
        self.start()
        problems = Oracle().compare(options.wick, self.server, self.acknowledged, self.in_doubt)
        assert not problems, problems
        assert self.server.stop() == 0


class SmallDisk:
    """A file system of a few MiB; None where mounting is not permitted."""

    def __init__(self, name, size="48m"):
        self.mount = os.path.join(options.scratch, name)
        os.makedirs(self.mount, exist_ok=True)
        self.filler = os.path.join(self.mount, "filler")
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", self.mount]
        self.mounted = subprocess.run(words, capture_output=True).returncode == 0

    def fill(self, leave=0):
        """To the last byte, or all but some; the program takes and gives back meanwhile."""
        with open(self.filler, "ab") as file:
            for _ in range(1000):
                info = os.statvfs(self.mount)
                if info.f_bavail * info.f_frsize <= leave:
                    return
                try:
                    more = info.f_bavail * info.f_frsize - leave
                    os.posix_fallocate(file.fileno(), 0, os.path.getsize(self.filler) + more)
                except OSError:
                    pass
        raise AssertionError("the disk does not stay full")

    def free(self):
        os.remove(self.filler)

    def unmount(self):
        subprocess.run(["umount", self.mount])


def on_small_disk(name, case):
    disk = SmallDisk(name)
    if not disk.mounted:
        report.skip(name, "mounting needs root")
        return
    folder = Folder(os.path.join(disk.mount, "data"))
    try:
        report.case(name, case, disk, folder)
    finally:
        if folder.server is not None and folder.server.process.poll() is None:
            folder.server.kill()
        disk.unmount()


def refused_and_resumes(disk, folder):
    """From a full disk on: every request is refused and says so, reads go on; with space it goes on by itself."""
    assert folder.post_until(503), "the disk never filled"
    for _ in range(3):
        status, code = folder.post()  # (a small one may still fit)
        assert (status, code) == (503, "no-space"), (status, code)
    folder.reads_go_on()
    time.sleep(0.5)
    folder.reads_go_on()
    assert folder.server.process.poll() is None, folder.server.said
    disk.free()
    assert folder.post_until(200, 100, 0.2, 10), "it does not accept again"
    folder.checkpoints()
    folder.ends_well()


def below_the_reserve(disk, folder):
    folder.start()
    disk.fill(leave=16 << 20)
    refused_and_resumes(disk, folder)


def filled_between_requests(disk, folder):
    folder.start()
    for _ in range(3):
        assert folder.post()[0] == 200
    disk.fill()
    refused_and_resumes(disk, folder)


def filled_before_a_checkpoint(disk, folder):
    """What is folded cannot be saved while the disk is full; a crash then folds it again."""
    folder.start()
    assert folder.post(100)[0] == 200
    folder.checkpoints()
    assert folder.post()[0] == 200
    disk.fill()
    folder.reads_go_on()
    time.sleep(0.3)
    folder.server.kill()
    disk.free()
    folder.start()
    disk.fill()
    refused_and_resumes(disk, folder)


def filled_before_a_late_event_and_a_seal(disk, folder):
    """What a checkpoint appends to topics before it commits: it is tried again until it is there, once."""
    day, quick = 86400_000, os.path.join(options.scratch, "quick.yaml")
    with open(config) as file, open(quick, "w") as to:
        to.write(file.read().replace("50ms", "10ms"))
    folder.server = server = Server(options.wick, folder.data, quick)
    server.wait_ready()

    def put(*events):
        status, body = server.request("POST", "/v1/prices", "\n".join(events))
        assert status == 200, f"{status} {body[:200]!r}"
        folder.acknowledged += events
        time.sleep(0.013)

    def tick():
        folder.counter += 1
        put(price_event("T", START + 4 * day + folder.counter, "1"))

    def topic(name):
        return must(options.wick, "topic", "read", name, "--values", data=folder.data).splitlines()

    put(*(price_event(f"S{n % 40}", START + n * 1000, f"{n}.5") for n in range(2000)))
    put(*(price_event(f"S{n}", START + 2 * day, "7") for n in range(40)))
    for _ in range(60):
        tick()
    disk.fill(leave=4 << 20)  # below the reserve: rows are saved until a day is to be sealed
    for _ in range(150):
        tick()
    late = price_event("S3", START, "9.75")
    put(late)
    time.sleep(1.2)
    task = server.json("/v1/status")["tasks"][0]
    assert task["checkpoint"] < task["end"] and not topic("candles.sealed.1m"), f"the disk was not full: {task}"
    folder.reads_go_on("kraken:S3/USD")
    disk.free()
    folder.checkpoints()
    assert topic("prices.late") == [late.encode()]
    for _ in range(400):
        if len(topic("candles.sealed.1m")) >= 40:
            break
        for _ in range(20):
            tick()
    folder.checkpoints()
    server.kill()
    folder.start()
    sealed = len(topic("candles.sealed.1m"))
    assert sealed >= 40, f"{sealed} days are sealed"
    for n in (0, 3, 39):
        rows = folder.server.json(f"/v1/candles?series=kraken:S{n}/USD&kind=price&from={START}&to={START + day}&interval=1d")
        assert [row["trades"] for row in rows] == [50], rows
    ledger = folder.server.json("/v1/ledger")
    assert ledger["balanced"] and sum(row["late"] for row in ledger["rows"]) == 1, ledger
    assert topic("prices.late") == [late.encode()]
    assert folder.server.stop() == 0


def filled_before_the_first_start(disk, folder):
    disk.fill()
    server = Server(options.wick, folder.data, config)
    code = server.process.wait(PATIENCE)
    server._reader.join(2)
    assert code == EXIT_NOT_NOW and any("space" in line or "full" in line for line in server.said), (code, server.said)
    disk.free()
    folder.start()
    assert folder.post(100)[0] == 200
    folder.ends_well()


def filled_before_a_later_start(disk, folder):
    """It serves what there is, or ends with the reason; nothing is lost either way."""
    folder.start()
    for _ in range(3):
        assert folder.post()[0] == 200
    folder.server.kill()
    disk.fill()
    try:
        folder.start()
        refused_and_resumes(disk, folder)
    except RuntimeError:
        folder.server._reader.join(2)
        said = " ".join(folder.server.said)
        assert folder.server.process.poll() == EXIT_NOT_NOW and ("space" in said or "full" in said), (folder.server.process.poll(), said)
        disk.free()
        folder.start()
        assert folder.post(100)[0] == 200
        folder.ends_well()


def filled_before_a_venue_is_added(disk, folder):
    """The tasks' last checkpoint, which has no room, comes before a new task: who waits for it can give up, and so can wick."""
    rare, trades = os.path.join(options.scratch, "rare.yaml"), os.path.join(options.scratch, "trades.csv")
    with open(config) as file, open(rare, "w") as to:
        to.write(file.read().replace("50ms", "20s"))
    with open(trades, "w") as file:
        file.write("".join(f"{START + i},1,2,{i}\n" for i in range(10)))
    for end in ("interrupted", "stopped"):
        folder.server = server = Server(options.wick, folder.data, rare)
        server.wait_ready()
        status, body = server.request("POST", "/v1/prices", "\n".join(price_event(f"{end[0]}{n}", START, "1") for n in range(3000)))
        assert status == 200, body
        disk.fill(leave=128 << 10)
        venue = "kraken" if end == "interrupted" else "huobi"  # each has no task yet
        command = subprocess.Popen([options.wick, "import", "--columns", "time,price,quantity,id", "--series", f"{venue}:A/USD", trades, "--data",
                                    folder.data], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        topic = os.path.join(folder.data, "log", "inbound-data-" + {"kraken": "other", "huobi": "huobi"}[venue] + ".invalid-0")
        time.sleep(1)
        assert command.poll() is None and not os.path.exists(topic), (command.poll(), command.communicate())
        if end == "interrupted":
            command.send_signal(signal.SIGINT)
            err = command.communicate(timeout=PATIENCE)[1]
            assert b"cancelled" in err, err
        server.stop(PATIENCE)
        assert command.wait(PATIENCE) != 0, end
        disk.free()
    folder.start()
    folder.checkpoints()
    ledger = folder.server.json("/v1/ledger")["rows"]
    assert sum(row["used"] for row in ledger if row["topic"] == "prices") == 6000, ledger
    assert folder.server.stop() == 0


def limited_file_size():
    """RLIMIT_FSIZE is a full disk of one file; its signal ends nothing."""
    folder = Folder(os.path.join(options.scratch, "limited"))
    folder.start(limits={resource.RLIMIT_FSIZE: (1 << 20, resource.RLIM_INFINITY)})
    try:
        assert folder.post_until(503, 100), "no limit was met"
        assert folder.post(2000)[1] == "no-space"
        folder.reads_go_on()
        resource.prlimit(folder.server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert folder.post_until(200, 100, 0.2, 10), "it does not accept again"
        folder.checkpoints()
        folder.ends_well()
    finally:
        if folder.server.process.poll() is None:
            folder.server.kill()


def until_traced(pid, tracer):
    """Until each of its threads is, or the tracer has given up."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and tracer.poll() is None:
        traced = []
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/status") as file:
                traced.append("TracerPid:\t0\n" not in file.read())
        if all(traced):
            return
        time.sleep(0.02)


def slow_checkpoint():
    """What copies a file waits for a checkpoint that takes longer than any sender would be kept waiting."""
    lines, data, trace = (os.path.join(options.scratch, name) for name in ("slow.jsonl", "slow", "slow.trace"))
    count = 600_000
    must(options.wick, "generate", "price-events", "--count", str(count), "--out", lines)
    with open(lines + ".first", "w") as file:
        file.write(price_event("A", START, "1"))
    must(options.wick, "import", lines + ".first", data=data)
    words = ["strace", "-f", "-qq", "-o", trace, "-P", os.path.join(data, "store", "data.mdb"), "-e", "trace=fdatasync", "-e",
             "inject=fdatasync:delay_enter=6500000:when=3", options.wick, "import", "--copy", "--data", data, "--format", "json", lines]
    done = subprocess.run(words, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    with open(trace) as file:
        assert "DELAYED" in file.read(), "no sync of the store was held up"
    assert json.loads(done.stdout)["written"] == count, done.stdout


def failing_sync():
    """The first fdatasync under load fails in the kernel: no acknowledgement, the process ends with its code for that, and
    the next one serves all that was."""
    folder = Folder(os.path.join(options.scratch, "sync"))
    folder.start()
    for _ in range(5):
        assert folder.post(100)[0] == 200
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=1+", "-o",
                               "/dev/null", "-p", str(folder.server.process.pid)], stderr=subprocess.PIPE, text=True)
    try:
        until_traced(folder.server.process.pid, tracer)
        if tracer.poll() is not None:
            report.skip("failing-sync", "strace cannot attach: " + (tracer.stderr.read().strip() or "?"))
            return
        status, code = folder.post(100)
        report.check("failing-sync-is-not-acknowledged", status in (None, 500), f"{status} {code}")
        ended = folder.server.process.wait(10)
        folder.server._reader.join(2)
        report.check("failing-sync-ends-the-process", ended == EXIT_IO, f"exit {ended}")
        report.check("failing-sync-is-named", any("fdatasync failed, which is final" in line for line in folder.server.said),
                     folder.server.said)
    finally:
        tracer.terminate()
        tracer.wait()
        if folder.server.process.poll() is None:
            folder.server.kill()
    folder.start()
    report.check("failing-sync-serves-again", folder.post(10)[0] == 200)
    report.case("failing-sync-lost-nothing", folder.ends_well)
    if folder.server.process.poll() is None:  # the case failed, or was not chosen
        folder.server.kill()


for name, case in (("below-the-reserve", below_the_reserve), ("filled-between-requests", filled_between_requests),
                   ("filled-before-a-checkpoint", filled_before_a_checkpoint),
                   ("filled-before-a-late-event-and-a-seal", filled_before_a_late_event_and_a_seal),
                   ("filled-before-the-first-start", filled_before_the_first_start),
                   ("filled-before-a-later-start", filled_before_a_later_start),
                   ("filled-before-a-venue-is-added", filled_before_a_venue_is_added)):
    on_small_disk(name, case)
report.case("limited-file-size", limited_file_size)
report.case("slow-checkpoint", slow_checkpoint)
try:
    failing_sync()
except Exception as error:
    report.check("failing-sync", False, f"{type(error).__name__}: {error}")
sys.exit(report.done())
