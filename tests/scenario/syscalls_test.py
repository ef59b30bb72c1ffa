"""The whole program dies, or is refused, at each of its system calls that touch the data folder: nothing acknowledged is
lost, nothing is there twice, candles and ledger are those of the log (docs/faults.md: D1, D2, D5, D6, D7, D8).

One small life: start in a new folder, requests, a roll, checkpoints, SIGKILL; start again (recovery), requests, checkpoint,
clean stop. A first run counts the calls of each kind over all threads (and strace agrees with the count); the others each
arm one of them. `--long` takes every call, ./check some of each kind."""
import concurrent.futures, errno, http.client, json, os, random, re, shutil, signal, sys, threading, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from fault import KINDS, Faults, build
from oracle import Oracle
from wick import Report, Server, arguments, price_event, run

options = arguments("faults at each system call")
report, chance = Report(), random.Random(options.seed)
library = build("fault", options.scratch)
config = os.path.join(options.scratch, "wick.yaml")
with open(config, "w") as file:
    file.write("log: {segment: 1MiB}\ncheckpoint: {every: 20ms}\n")
START = (int(time.time()) - 30 * 86400) // 86400 * 86400_000
SYNC_FAILED, STORE_FAILED = "fdatasync failed, which is final", "cannot write the store"
EXIT_IO, EXIT_NOT_NOW = 5, 6
PATIENCE = 20  # seconds until a server that was refused something has to serve again


class Ended(Exception):
    """The program has ended; the code is looked at later."""


class Life:
    """Requests to a server, and what is known of them."""

    def __init__(self, name, wrapper=()):
        self.folder = os.path.join(options.scratch, name)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.faults = Faults(library, self.folder)
        self.data, self.wrapper = os.path.join(self.folder, "data"), wrapper
        self.acknowledged, self.in_doubt, self.problems = [], [], []
        self.counter, self.server, self.refused, self.ready, self.stopping = 0, None, 0, False, False

    def start(self, shimmed=True):
        self.ready = False
        self.server = Server(options.wick, self.data, config, self.faults.env if shimmed else None, wrapper=self.wrapper)
        try:
            self.server.wait_ready()
        except RuntimeError:
            if self.server.process.poll() is None:
                raise
            raise Ended()
        self.ready = True

    def events(self, count, padding):
        """Some are as long as 5 KiB, so that few fill a segment."""
        lines = []
        for _ in range(count):
            self.counter += 1
            line = price_event(f"C{self.counter % 2}", START + self.counter * 700, f"{self.counter * 7919 % 1000}.{self.counter:06d}1")
            lines.append("{" + " " * padding + line[1:])
        return lines

    def post(self, count, padding=0):
        """Until events are accepted: what was refused is in doubt for ever, and others are sent."""
        deadline = time.monotonic() + PATIENCE
        while True:
            lines = self.events(count, padding)
            try:
                status, body, headers = self.server.exchange("POST", "/v1/prices", "\n".join(lines), timeout=PATIENCE)
            except (OSError, http.client.HTTPException):
                self.in_doubt += lines
                self.server.process.wait(PATIENCE)
                raise Ended()
            if status == 200:
                said = json.loads(body)
                if said["accepted"] != count:
                    self.problems.append(f"accepted {said}")
                self.acknowledged += lines
                return
            self.in_doubt += lines
            self.refused += 1
            if status == 503 and headers["Retry-After"] is None:
                self.problems.append("503 without Retry-After")
            if status == 500:  # the disk has failed: the program is on its way out
                self.server.process.wait(PATIENCE)
                raise Ended()
            if status != 503 or time.monotonic() > deadline:
                raise AssertionError(f"POST /v1/prices: {status} {body[:300]!r}")
            time.sleep(0.02)

    def checkpoint(self):
        """Until one has taken in all that was sent."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                tasks = self.server.json("/v1/status")["tasks"]
            except (OSError, http.client.HTTPException, AssertionError):  # it is on its way out, or gone
                self.server.process.wait(PATIENCE)
                raise Ended()
            if all(task["checkpoint"] == task["end"] for task in tasks):
                return
            if self.server.process.poll() is not None:
                raise Ended()
            time.sleep(0.005)
        raise AssertionError(f"no checkpoint in {PATIENCE} s: {tasks}, {self.server.get('/readyz')}, {self.server.said[-3:]}")

    def live(self):
        """Both runs; the code of the second, or None where the first ended by itself."""
        self.start()
        for _ in range(4):
            self.post(60, 5000)
        self.checkpoint()
        self.post(5)
        self.post(5)
        self.server.kill()
        self.start()
        self.post(5)
        self.checkpoint()
        self.stopping = True
        return self.server.stop()

    def end(self):
        if self.server is not None and self.server.process.poll() is None:
            self.server.kill()

    def afterwards(self):
        """What a run without faults finds."""
        self.end()
        oracle = Oracle()
        self.start(shimmed=False)
        self.problems += oracle.compare(options.wick, self.server, self.acknowledged, self.in_doubt)
        self.post(5)
        if self.server.stop() != 0:
            self.problems.append("the last stop is not clean")
        return self.problems

    def told(self):
        self.server._reader.join(2)
        return " | ".join(self.server.said[-3:])


def counted():
    life = Life("count")
    assert life.live() == 0
    counts = life.faults.counts()
    problems = life.afterwards()
    assert not problems, problems
    return counts


def strace_agrees():
    """No call that touches the folder escapes the count."""
    log = os.path.join(options.scratch, "strace.log")
    names = {"write": "write", "pwrite": "pwrite64", "pwritev": "pwritev|writev|pwritev2", "sync": "fdatasync|fsync|sync_file_range|syncfs|msync",
             "rename": "rename|renameat|renameat2", "open": "open|openat|openat2|creat", "unlink": "unlink|unlinkat|rmdir",
             "truncate": "truncate|ftruncate", "allocate": "fallocate", "mkdir": "mkdir|mkdirat"}
    every = ",".join("?" + name for words in names.values() for name in words.split("|"))
    life = Life("traced", ["strace", "-f", "-qq", "-y", "-s", "300", "-e", "signal=none", "-e", "trace=" + every, "-o", log])
    try:
        life.start()
    except Ended:
        report.skip("strace-agrees", "strace cannot trace here: " + life.told())
        return
    life.post(60, 5000)
    life.checkpoint()
    tracer = life.server.process.pid
    with open(f"/proc/{tracer}/task/{tracer}/children") as children:
        os.kill(int(children.read().split()[0]), signal.SIGTERM)
    life.server.process.wait(20)
    counts = life.faults.counts()
    with open(log, errors="replace") as file:
        lines = [line for line in file if "resumed>" not in line]
    for kind, words in names.items():
        touches = rf'\d+\s+({words})\((AT_FDCWD(<[^>]*>)?, )?(\d+<|"){re.escape(life.folder)}[/">]'
        found = [line for line in lines if re.match(touches, line)]
        if kind == "open":  # not the C library's own, of folders that are listed
            found = [line for line in found if "O_NONBLOCK" not in line and "faults.page" not in line]
        assert len(found) == counts[kind], f"{kind}: {counts[kind]} counted, strace saw {len(found)}: {found[-2:]}"
    report.check("strace-agrees", True)


def one(case):
    """A fault and what follows from it: a list of problems."""
    kind, action, code, at = case
    life = Life(f"w-{threading.get_ident()}")
    life.faults.arm(kind, action, at, error=code)
    try:
        try:
            stopped = life.live()
        except Ended:
            stopped = life.server.process.poll()
        if life.faults.hits() == 0:
            return None  # this run made fewer of these calls than the one that counted
        problem = judge(life, action, code, kind, stopped)
        problems = life.afterwards() + ([problem] if problem else [])
        return [f"{kind} {at} {action} {errno.errorcode.get(code, '')}: {text}" for text in problems]
    except Exception as error:
        return [f"{kind} {at} {action} {errno.errorcode.get(code, '')}: {type(error).__name__}: {error}; {life.told()}"]
    finally:
        life.end()
        life.faults.close()
        shutil.rmtree(life.folder, ignore_errors=True)


def judge(life, action, code, kind, stopped):
    """How the program has to take it; None, or what is wrong."""
    how = f"exit {stopped}: {life.told()}"
    if action == "kill":
        return None if stopped == -9 else how
    if not life.ready:  # a start that is refused says so
        return None if stopped in (0, EXIT_IO, EXIT_NOT_NOW) else how
    if action == "fail" and code == errno.EIO and not life.stopping:
        final = stopped == EXIT_IO and (kind != "sync" or SYNC_FAILED in how or STORE_FAILED in how)
        return None if final or kind == "pwritev" and stopped == 0 else how  # (a hint of the index may be left out)
    # LMDB tells neither a short write nor a refused header page from a failing disk: that ends the program too.
    return None if stopped == 0 or kind in ("pwrite", "pwritev") and stopped == EXIT_IO and STORE_FAILED in how else how


def sample(count, most):
    """Numbers of calls, one of each `most`-th part; of the last few some runs make none."""
    if options.long or count <= most:
        return list(range(1, count + 1))
    return [chance.randrange(part * count // most, (part + 1) * count // most) + 1 for part in range(most)]


def sweep(name, cases):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() if options.long else 2) as pool:
        results = list(pool.map(one, cases))
    missed = sum(result is None for result in results)
    problems = [text for result in results for text in result or []]
    if cases:  # the program may do without a kind of call
        print(f"{name}: {len(cases) - missed} of {len(cases)} faults fell")
        report.check(name, not problems and missed * 2 <= len(cases), "; ".join(problems[:6]) or "too few faults fell")


def main():
    counts = counted()
    print("calls: " + ", ".join(f"{kind} {count}" for kind, count in counts.items()))
    for kind in ("pwrite", "pwritev", "sync", "open", "truncate", "allocate", "mkdir"):
        assert counts[kind] > 0, f"the workload makes no {kind}"
    report.case("workload", lambda: None)
    strace_agrees()
    for kind in KINDS:
        sweep(f"killed-at-{kind}", [(kind, "kill", 0, at) for at in sample(counts[kind], 2)])
    for kind in ("write", "pwrite", "pwritev", "allocate"):
        sweep(f"full-at-{kind}", [(kind, "fail", errno.ENOSPC, at) for at in sample(counts[kind], 2)])
    for kind in ("sync", "pwrite", "pwritev"):
        sweep(f"failed-at-{kind}", [(kind, "fail", errno.EIO, at) for at in sample(counts[kind], 2)])
    for kind in ("write", "pwrite", "pwritev"):
        sweep(f"short-at-{kind}", [(kind, "short", 0, at) for at in sample(counts[kind], 2)])


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        report.check("syscalls", False, f"{type(error).__name__}: {error}")
    sys.exit(report.done())
