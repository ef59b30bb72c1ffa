"""A full disk and a failing one, on a small file system of its own and with injected errors."""
import json, os, subprocess, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, Server, arguments, events_of, must, price_event

options = arguments("full and failing disks")
report = Report()
now = int(time.time() * 1000) - 3600_000
counter = 0


def lines(count):
    global counter
    counter += count
    return "\n".join(price_event(f"D{n % 50}", now + n, f"{n}.5") for n in range(counter - count, counter))


def post(server, count=2000):
    status, body = server.request("POST", "/v1/prices", lines(count))
    return status, body


def full_disk():
    mount = os.path.join(options.scratch, "small")
    os.makedirs(mount, exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", mount], capture_output=True).returncode != 0:
        report.skip("full-disk", "mounting needs root")
        return
    server = None
    try:
        config = os.path.join(options.scratch, "small.yaml")
        with open(config, "w") as file:
            file.write("log: {segment: 2MiB, reserve: 8MiB}\nstore: {map: 64MiB}\n")
        data = os.path.join(mount, "data")
        server = Server(options.wick, data, config)
        server.wait_ready()
        filler = os.path.join(mount, "filler")
        with open(filler, "wb") as file:
            file.write(bytes(16 << 20))
        accepted, refused = 0, None
        for _ in range(400):
            status, body = post(server)
            if status != 200:
                refused = (status, body)
                break
            accepted += 2000
        assert refused, "the disk never filled"
        status, body = refused
        assert status == 503, f"{status} {body[:300]!r}"
        assert json.loads(body)["error"]["code"] in ("no-space", "busy"), body
        report.check("full-disk-is-503", True)
        rows = server.json("/v1/latest?series=kraken:D1/USD")["latest"]
        report.check("full-disk-reads-go-on", len(rows) == 1, rows)
        time.sleep(1)
        assert server.process.poll() is None, "the program ended"
        os.remove(filler)
        deadline, status = time.monotonic() + 20, 0
        while time.monotonic() < deadline and status != 200:
            status, body = post(server)
            time.sleep(0.2)
        report.check("full-disk-resumes-by-itself", status == 200, f"{status} {body[:300]!r}")
        accepted += 2000
        server.kill()
        server = Server(options.wick, data, config)
        server.wait_ready()
        found = len(events_of(must(options.wick, "topic", "read", "prices", "--values", data=data).splitlines()))
        report.check("full-disk-lost-nothing", accepted <= found <= counter, f"{accepted} acknowledged, {found} found, {counter} sent")
        ledger = server.json("/v1/ledger")
        report.check("full-disk-ledger", ledger["balanced"], ledger)
    finally:
        if server:
            server.kill()
        subprocess.run(["umount", mount])


def failing_sync():
    """The first fdatasync under load fails: no acknowledgement, the process ends, and the next one serves all that was."""
    data = os.path.join(options.scratch, "sync")
    server = Server(options.wick, data)
    server.wait_ready()
    acknowledged = 0
    for _ in range(5):
        assert post(server, 100)[0] == 200
        acknowledged += 100
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=1+", "-o", "/dev/null",
                               "-p", str(server.process.pid)], stderr=subprocess.PIPE, text=True)
    try:
        time.sleep(0.7)
        if tracer.poll() is not None:
            report.skip("failing-sync", "strace cannot attach: " + (tracer.stderr.read().strip() or "?"))
            return
        try:
            status, body = post(server, 100)
            report.check("failing-sync-is-not-acknowledged", status >= 500, f"{status} {body[:200]!r}")
        except OSError:
            report.check("failing-sync-is-not-acknowledged", True)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and server.process.poll() is None:
            time.sleep(0.05)
        code = server.process.poll()
        report.check("failing-sync-ends-the-process", code not in (None, 0), f"exit {code}")
    finally:
        tracer.terminate()
        tracer.wait()
        server.kill()
    server = Server(options.wick, data)
    server.wait_ready()
    found = len(events_of(must(options.wick, "topic", "read", "prices", "--values", data=data).splitlines()))
    report.check("failing-sync-lost-nothing", acknowledged <= found <= acknowledged + 100, f"{acknowledged} acknowledged, {found} found")
    report.check("failing-sync-serves-again", post(server, 10)[0] == 200)
    server.stop()


for name, case in (("full-disk", full_disk), ("failing-sync", failing_sync)):
    try:
        case()
    except Exception as error:
        report.check(name, False, f"{type(error).__name__}: {error}")
sys.exit(report.done())
