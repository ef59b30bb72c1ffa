"""The whole test suite, behind ./check. Prints a line a stage; the last line is "N passed, N failed, N skipped".

What counts as one test: a case of a cmocka program, a line "ok NAME" / "FAIL NAME: why" / "SKIP NAME: why" of a test
script, a case of the page's tests, a rule of tools/, a fuzz target, a planted bug. A stage that cannot be built is one
failure, with the end of its log.
"""
import argparse, concurrent.futures, glob, json, os, re, shutil, signal, subprocess, sys, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILDS = os.path.join(ROOT, "build-check")
LOGS = os.path.join(BUILDS, "logs")
SHARED = os.environ.get("WICK_SHARED") or os.path.abspath(os.path.join(ROOT, "..", "shared"))

# Options of each build; the plants build is the one test build, optimised as a release with its asserts on.
CONFIGURATIONS = {
    "plants": ("gcc", "g++", ["-Dbuildtype=release", "-Dplants=true", "-Dpage=disabled"]),
    "release": ("gcc", "g++", ["-Dbuildtype=release", "-Dpage=auto"]),
    "sanitized": ("clang", "clang++", ["-Dbuildtype=debugoptimized", "-Db_sanitize=address,undefined", "-Db_lundef=false",
                                       "-Dfuzz=true", "-Dpage=disabled"]),
    "threads": ("clang", "clang++", ["-Dbuildtype=debugoptimized", "-Db_sanitize=thread", "-Db_lundef=false",
                                     "-Dpage=disabled"]),
}
STAGES = ["rules", "unit", "scenario", "examples", "kill", "page", "sanitized", "fuzz", "threads"]
COMMON = ["-Dwerror=true", "-Dtests=enabled", "-Db_ndebug=false"]
# What has threads; the rest of the suite is single-threaded.
THREADED = re.compile(r"(^|:)\s*((sys|net|api|flow|engine)/|(log/(fault|log)|store/store|candle/(latest|series))$)")
# Scenarios that measure one client beside others have the machine to themselves; others mostly wait, and run two for each core.
ALONE = {"descriptors", "hostile", "overload"}
# The whole program sanitized: scenarios that go through engine and command line, and which of their cases ("": all).
SANITIZED_SCENARIOS = {
    "sanitized": {"prices": "", "recordings": "^(trx-.*|ada-klines|verdicts-.*)$", "beside": "^(several-files|copied)$",
                  "klines": "^(several-at-once|pipe|other-lengths|killed)$", "commands": "^(wrong-use|folders-that-are-not)$",
                  "arguments": "", "damage": "^(rot-behind-a-crash-refuses-writes-loudly|a-damaged-store-is-made-anew|no-file-of-the-folder-is-trusted)$"},
    "threads": {"prices": "", "reload": "", "recordings": "^(ada-klines|verdicts-.*)$",
                "beside": "^(prices-and-file|trades-and-file|copied)$", "klines": "^several-at-once$",
                "retention": "^minutes leave, 15m and 1d stay$"},
}
# What a machine may not allow: mounting, tracing, another clock. Everything else runs wherever the recorded data is.
MACHINE_SKIPS = re.compile(r"mounting needs root|strace cannot|libfaketime is not there")
# A command's prefix: last in its session, and its session last of all (sched(7), autogroups).
GIVING_WAY = ["nice", "-n", "19", "sh", "-c", '{ echo 19 > /proc/self/autogroup; } 2> /dev/null; exec "$@"', "giving-way"]
# Tests most likely to find a planted bug, tried before the rest: suite or test names as `meson test` lists them.
PLANT_FIRST = {
    "no-fdatasync": "log/", "answer-before-sync": "log/", "fold-before-sync": "log/", "no-checksum": "log/|codec/",
    "no-folder-sync": "log/|sys/", "cut-at-rot": "log/", "checkpoint-before-data": "flow/|store/|sim",
    "dedup-off": "candle/", "double-apply": "flow/|engine/|sim", "close-by-arrival": "candle/", "ledger-term": "flow/|candle/",
    "quiet-without-proof": "candle/",
}
PLANTS = 12
# What the simulations promise to see they must see themselves, whatever a unit test finds.
SIMULATED = {name: ["sim-log-crash"] for name in ("no-fdatasync", "answer-before-sync", "fold-before-sync", "no-checksum",
                                                  "no-folder-sync", "cut-at-rot")}
SIMULATED |= {name: ["sim-engine", "sim-engine-crash"] for name in ("checkpoint-before-data", "double-apply")}
STATES_MIN = {"sim/log_crash": 1_000_000, "sim/engine_crash": 8_000}


class Totals:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures, self.skips = [], []

    def add(self, passed=0, failed=(), skipped=()):
        self.passed += passed
        self.failed += len(failed)
        self.skipped += len(skipped)
        self.failures += failed
        self.skips += skipped

    def line(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


class Runner:
    def __init__(self, long, services):
        self.long, self.services = long, services
        self.totals = Totals()
        self.jobs = len(os.sched_getaffinity(0))
        self.behind = {}  # builds that run behind other stages
        os.makedirs(LOGS, exist_ok=True)

    def say(self, text):
        print(text, flush=True)

    def stage(self, name, action):
        """Runs one stage; whatever it raises is a failure of the stage."""
        before = Totals()
        before.__dict__.update(self.totals.__dict__)
        started = time.monotonic()
        try:
            action()
        except StageFailed as failure:
            self.totals.add(failed=[f"{name}: {failure}"])
            self.say(failure.log)
        seconds = time.monotonic() - started
        new = self.totals
        self.say(f"{name:<12} {seconds:6.1f} s   {new.passed - before.passed} passed, {new.failed - before.failed} failed, "
                 f"{new.skipped - before.skipped} skipped")
        for text in new.failures[len(new.failures) - (new.failed - before.failed):] if new.failed > before.failed else []:
            self.say("  FAILED  " + text)
        for text in new.skips[len(new.skips) - (new.skipped - before.skipped):] if new.skipped > before.skipped else []:
            self.say("  skipped " + text)

    def command(self, log_name, words, timeout, env=None, may_fail=False):
        """Runs a command with its output in a log; its whole process group ends with it."""
        path = os.path.join(LOGS, log_name + ".log")
        merged = dict(os.environ, WICK_SHARED=SHARED, **(env or {}))
        with open(path, "w") as log:
            process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT,
                                       env=merged, start_new_session=True)
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                code = f"timed out after {timeout} s"
            finally:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                process.wait()
        with open(path, errors="replace") as log:
            text = log.read()
        if code != 0 and not may_fail:
            raise StageFailed(f"{' '.join(words[:4])}: {code if isinstance(code, str) else f'exit {code}'} ({path})", text)
        return code, text

    def build(self, name):
        """Configures (afresh if the options changed) and compiles, or waits for what compiles it already."""
        if name in self.behind:
            concurrent.futures.wait([self.behind.pop(name)])  # one that failed fails once more, and is told then
        return self.compile(name)

    def build_behind(self, names):
        """One after the other, beside stages that mostly wait, and only with what those leave of the machine."""
        pool = concurrent.futures.ThreadPoolExecutor(1)
        self.behind = {name: pool.submit(self.compile, name, GIVING_WAY) for name in names}
        pool.shutdown(wait=False)

    def compile(self, name, under=()):
        cc, cxx, options = CONFIGURATIONS[name]
        folder = os.path.join(BUILDS, name)
        wanted = " ".join([cc, cxx, *COMMON, *options])
        stamp = os.path.join(folder, "check-options")
        if not os.path.exists(stamp) or open(stamp).read() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            self.command(f"setup-{name}", [*under, "meson", "setup", folder, ROOT, *COMMON, *options], 300,
                         {"CC": cc, "CXX": cxx})
            with open(stamp, "w") as file:
                file.write(wanted)
        self.command(f"build-{name}", [*under, "ninja", "-C", folder], 1500)
        return folder

    def wick(self, folder):
        path = os.path.join(folder, "wick")
        if not os.path.exists(path):
            raise StageFailed("the build has no program wick", "")
        return path

    # --- parts ---

    def meson_tests(self, name, folder, timeout_factor=1, env=None, only=None, stop_early=False):
        """Runs the tests of a build and counts the cases inside them. Returns how many failed."""
        words = ["meson", "test", "-C", folder, "--no-rebuild", "--logbase", f"check-{name}", "--timeout-multiplier",
                 str(timeout_factor), "--num-processes", str(self.jobs)]
        if stop_early:
            words += ["--maxfail", "1"]
        if only is not None:
            listed = subprocess.run(["meson", "test", "-C", folder, "--no-rebuild", "--list"], text=True, capture_output=True,
                                    cwd=ROOT).stdout.splitlines()
            chosen = [line.split(" / ")[-1].strip() for line in listed if re.search(only, line.split(" / ")[-1].strip())]
            if not chosen:
                raise StageFailed(f"no test is called like {only}", "")
            words += chosen
        code, _ = self.command(f"tests-{name}", words, 3600 if self.long else 800, env, may_fail=True)
        path = os.path.join(folder, "meson-logs", f"check-{name}.json")
        if not os.path.exists(path):
            raise StageFailed(f"meson test gave no results ({code})", open(os.path.join(LOGS, f"tests-{name}.log")).read())
        counted = Totals()
        with open(path) as lines:
            for line in lines:
                count_program(json.loads(line), counted)
        if isinstance(code, str):
            counted.add(failed=[code])
        elif code != 0 and counted.failed == 0:
            counted.add(failed=[f"meson test: exit {code}"])
        if stop_early:
            return counted.failed
        for text in counted.failures:
            self.say(failure_output(path, text))
        self.totals.add(counted.passed, counted.failures, counted.skips)
        return counted.failed

    def script(self, name, words, timeout, env=None):
        """A test script that prints lines "ok NAME", "FAIL NAME: why", "SKIP NAME: why"."""
        self.count_script(name, *self.command(name, words, timeout, env, may_fail=True))

    def count_script(self, name, code, text):
        counted = Totals()
        for line in text.splitlines():
            match = re.match(r"(ok|FAIL|SKIP) (.+)", line)
            if match and match.group(1) == "ok":
                counted.add(1)
            elif match:
                counted.add(**{"failed" if match.group(1) == "FAIL" else "skipped": [f"{name}: {match.group(2)}"]})
        if code != 0 and counted.failed == 0 or counted.passed + counted.failed + counted.skipped == 0:
            counted.add(failed=[f"{name}: {code if isinstance(code, str) else f'exit {code}'}"])
        if counted.failed:
            self.say(tail(text))
        self.totals.add(counted.passed, counted.failures, counted.skips)

    # --- stages ---

    def rules(self):
        for words in (["tools/layers", "--build", os.path.join(BUILDS, "plants")], ["tools/banned"], ["tools/format-check"],
                      ["tools/errors-doc", "--check"], ["tools/links"]):
            code, text = self.command("rule-" + os.path.basename(words[0]), words, 300, may_fail=True)
            if code == 0:
                self.totals.add(1)
            elif code == 77:
                self.totals.add(skipped=[f"{words[0]}: {text.strip().splitlines()[-1]}"])
            else:
                self.say(tail(text))
                self.totals.add(failed=[words[0]])
        missing = libraries_not_set_up()
        self.totals.add(0 if missing else 1, [f"tools/setup does not install {name}" for name in missing])

    def unit(self):
        folder = os.path.join(BUILDS, "plants")
        self.meson_tests("unit", folder, 4, env={"WICK_SEEDS": "1000" if self.long else "100"})
        for name, least in STATES_MIN.items():
            states = states_visited(os.path.join(folder, "meson-logs", "check-unit.json"), name)
            if states >= least:
                self.totals.add(1)
                self.say(f"  {name}: {states} states")
            else:
                self.totals.add(failed=[f"{name}: {states} states, not {least}"])

    def sanitized(self):
        folder = self.build("sanitized")
        asan, ubsan = "detect_stack_use_after_return=1:strict_string_checks=1", "print_stacktrace=1:halt_on_error=1"
        self.meson_tests("sanitized", folder, 4, {"WICK_SEEDS": "10", "ASAN_OPTIONS": asan, "UBSAN_OPTIONS": ubsan})
        self.sanitized_scenarios("sanitized", folder, {"ASAN_OPTIONS": asan, "UBSAN_OPTIONS": ubsan})

    def threads(self):
        folder = self.build("threads")
        tsan = f"halt_on_error=1:second_deadlock_stack=1:suppressions={ROOT}/tools/tsan.supp"
        self.meson_tests("threads", folder, 6, {"WICK_SEEDS": "5", "TSAN_OPTIONS": tsan}, only=THREADED.pattern)
        self.sanitized_scenarios("threads", folder, {"TSAN_OPTIONS": tsan})

    def sanitized_scenarios(self, stage, folder, options):
        """Scenarios with the stage's program, as many at a time as there are cores. Whatever a script makes of it, each report of
        a sanitizer is a failure."""
        wick = self.wick(folder)

        def run(item):
            script, cases = item
            name = f"{stage}-{script}"
            scratch = os.path.join(BUILDS, "scratch", name)
            shutil.rmtree(scratch, ignore_errors=True)
            os.makedirs(scratch)
            env = {key: f"{value}:log_path={scratch}/report" for key, value in options.items()}
            words = [sys.executable, os.path.join(ROOT, "tests", "scenario", f"{script}_test.py"), "--wick", wick, "--scratch", scratch]
            return name, self.command(name, words, 600, {**env, "WICK_CASES": cases}, may_fail=True), scratch

        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            for name, (code, text), scratch in pool.map(run, SANITIZED_SCENARIOS[stage].items()):
                self.count_script(name, code, text)
                self.totals.add(failed=[f"{name}: no case is called like {pattern}" for pattern in
                                        cases_not_seen(SANITIZED_SCENARIOS[stage][name[len(stage) + 1:]], text)])
                for path in sorted(glob.glob(f"{glob.escape(scratch)}/report.*")):
                    with open(path, errors="replace") as report:
                        self.say(tail(report.read()))
                    self.totals.add(failed=[f"{name}: a sanitizer's report, {os.path.relpath(path, ROOT)}"])

    def fuzz(self):
        """Each target over its seeds and some seconds of new inputs: the same ones each time, but for a long run's."""
        folder = os.path.join(BUILDS, "sanitized", "fuzz")
        seconds = 120 if self.long else 3
        targets = [path for path in sorted(glob.glob(os.path.join(folder, "fuzz-*"))) if not os.path.isdir(path)]
        if not targets:
            raise StageFailed("there is no fuzz target", "")

        def run(target):
            name = os.path.basename(target)[5:]
            found = os.path.join(BUILDS, "fuzz-found", name)
            os.makedirs(found, exist_ok=True)
            seeds = os.path.join(ROOT, "fuzz", "seeds", name)
            words = [target, f"-max_total_time={seconds}", f"-seed={0 if self.long else 1}", "-timeout=10",
                     "-rss_limit_mb=2048", "-print_final_stats=1", f"-artifact_prefix={found}/crash-",
                     "-max_len=65536", found]
            words += [seeds] if os.path.isdir(seeds) else []
            return name, self.command(f"fuzz-{name}", words, seconds + 120, may_fail=True)

        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            results = list(pool.map(run, targets))
        for name, (code, text) in results:
            if code == 0:
                self.totals.add(1)
            else:
                self.say(tail(text))
                self.totals.add(failed=[f"fuzz {name}: {code}"])

    def scripts(self, kind, wick, timeout):
        """tests/KIND/*_test.py and .sh, each given the program, a scratch folder and the shared data."""
        found = sorted(glob.glob(os.path.join(ROOT, "tests", kind, "*_test.py")))
        alone = [path for path in found if kind == "kill" or os.path.basename(path)[:-8] in ALONE]

        def run(path):
            name = f"{kind}-{os.path.basename(path)[:-8]}"
            scratch = os.path.join(BUILDS, "scratch", name)
            shutil.rmtree(scratch, ignore_errors=True)
            os.makedirs(scratch)
            words = [sys.executable, path, "--wick", wick, "--scratch", scratch] + (["--long"] if self.long else [])
            return name, self.command(name, words, timeout, {"WICK_SERVICES": "1"} if self.services else None, may_fail=True)

        with concurrent.futures.ThreadPoolExecutor(2 * self.jobs) as pool:
            done = list(pool.map(run, [path for path in found if path not in alone]))
        for name, (code, text) in done + [run(path) for path in alone]:
            self.count_script(name, code, text)

    def scenario(self):
        wick = self.wick(self.build("release"))
        self.scripts("scenario", wick, 600)
        self.scripts("interop", wick, 600)
        page = [sys.executable, os.path.join(ROOT, "tests", "scenario", "page_test.py"), "--scratch", os.path.join(BUILDS, "scratch", "pageless")]
        self.script("scenario-pageless", [*page, "--wick", self.wick(os.path.join(BUILDS, "plants"))], 60, {"WICK_PAGE": "no"})

    def examples(self):
        wick = self.wick(os.path.join(BUILDS, "release"))
        for run in sorted(glob.glob(os.path.join(ROOT, "examples", "*", "run"))):
            example = os.path.basename(os.path.dirname(run))
            self.script(f"example-{example}", [run, "--check"], 300, {"WICK": wick})

    def kill(self):
        self.scripts("kill", self.wick(os.path.join(BUILDS, "plants")), 1800 if self.long else 420)

    def page(self):
        wick = self.wick(os.path.join(BUILDS, "release"))
        tests = os.path.join(ROOT, "web", "test")
        if not os.path.isdir(tests):
            raise StageFailed("web/test is missing", "")
        self.command("page-install", ["npm", "ci", "--prefix", os.path.join(ROOT, "web"), "--no-audit", "--no-fund"], 300)
        # Against the program; what needs faults on demand is run against the mock by the same command.
        done = set()
        for name, env in (("page", {"WICK": wick}),):
            code, text = self.command(name, ["npm", "--prefix", os.path.join(ROOT, "web"), "test"], 400, env, may_fail=True)
            counted = Totals()
            count_page(name, text, counted, done)
            if code != 0 and counted.failed == 0 or counted.passed + counted.failed == 0:
                counted.add(failed=[f"{name}: {code if isinstance(code, str) else f'exit {code}'}"])
            if counted.failed:
                self.say(tail(text))
            self.totals.add(counted.passed, counted.failures, counted.skips)

    def suite(self):
        self.say(f"{self.jobs} cores, logs in {os.path.relpath(LOGS, ROOT)}/; shared data: "
                 + (SHARED if os.path.isdir(os.path.join(SHARED, "data")) else "absent, tests on recorded data are skipped"))
        if self.services:
            self.say("--services: segments exchanged with a real Apache Kafka (tests/interop); Cassandra, S3, Spark, Airflow and "
                     "Connect have nothing of ours to meet yet.")
        else:
            self.say("not without --services: Apache Kafka's DumpLogSegments on our segments (dump-log-segments-reads-ours-none, -lz4, "
                     "-zstd), its broker on ours and ours on what it writes (broker-serves-ours, broker-writes-*-ours-reads)")
        self.stage("build", lambda: self.build("plants"))
        for name in STAGES:
            if name == "kill":
                self.build_behind(["sanitized", "threads"])
            self.stage(name, getattr(self, name))
        self.stage("skips", self.skips)

    def skips(self):
        """Where the recorded data is, nothing may be skipped but what this machine does not allow."""
        if not os.path.isdir(os.path.join(SHARED, "data")):
            return
        wrong = [text for text in self.totals.skips if not MACHINE_SKIPS.search(text)]
        self.totals.add(0 if wrong else 1, [f"skipped, although the recorded data is in {SHARED}: {text}" for text in wrong])

    # --- planted bugs ---

    def plant(self, name):
        """True if a test fails with the bug planted."""
        folder = os.path.join(BUILDS, "plants")
        env = {"WICK_PLANT": name}
        for program in SIMULATED.get(name, []):
            if not self.simulation_sees(folder, program, name, env):
                return False
        first = PLANT_FIRST.get(name)
        if first and self.meson_tests(f"plant-{name}", folder, 1, env, only=first, stop_early=True) > 0:
            return True
        return self.meson_tests(f"plant-{name}", folder, 1, env, stop_early=True) > 0

    def simulation_sees(self, folder, program, plant, env):
        code, text = self.command(f"plant-{plant}-{program}", [os.path.join(folder, "tests", "sim", program)], 300, env, may_fail=True)
        seen = code == 1 and re.search(r"^(.* )?violations [1-9]", text, re.M) is not None
        if not seen:
            self.say(f"  {program} does not see {plant}: {code}\n{tail(text)}")
        return seen

    def all_plants(self):
        self.build("plants")
        if len(plant_names()) != PLANTS:
            self.totals.add(failed=[f"{len(plant_names())} planted bugs, not {PLANTS}"])
        for name in plant_names():
            started = time.monotonic()
            if self.plant(name):
                self.totals.add(1)
                self.say(f"  plant {name}: found in {time.monotonic() - started:.1f} s")
            else:
                self.totals.add(failed=[f"plant {name}: no test fails with it"])


class StageFailed(Exception):
    def __init__(self, what, text):
        super().__init__(what)
        self.log = tail(text)


def tail(text, lines=40):
    rows = text.rstrip().splitlines()
    return "\n".join("  | " + row[:400] for row in rows[-lines:])


def failure_output(path, label):
    """The end of what a failing program printed."""
    with open(path) as lines:
        for line in lines:
            entry = json.loads(line)
            if label.startswith(entry["name"].split(" / ")[-1]):
                shown = (entry.get("stdout") or "") + (entry.get("stderr") or "")
                wanted = [row for row in shown.splitlines() if not re.match(r"\[( RUN |\s+OK )", row)]
                return tail("\n".join(wanted), 30)
    return ""


def count_program(entry, counted):
    """One line of meson's testlog.json; cases of cmocka are counted one by one."""
    name = entry["name"].split(" / ")[-1]
    output = (entry.get("stdout") or "") + "\n" + (entry.get("stderr") or "")
    passed = re.findall(r"^\[\s+OK \] (\S+)", output, re.M)
    failed = set(re.findall(r"^\[  FAILED  \] (?!\d+ test)(?:GROUP )?(\S+)", output, re.M))
    skipped = set(re.findall(r"^\[  SKIPPED \] (?!\d+ test)(\S+)", output, re.M))
    result = entry["result"]
    if result == "SKIP":
        counted.add(skipped=[f"{name}"])
    elif not passed and not failed and not skipped:
        counted.add(1) if result in ("OK", "EXPECTEDFAIL") else counted.add(failed=[f"{name}: {result}"])
    else:
        if result != "OK" and not failed:
            failed = {result}
        counted.add(len(passed), [f"{name}: {case}" for case in sorted(failed)],
                    [f"{name}: {case}" for case in sorted(skipped)])


def cases_not_seen(pattern, text):
    """Of a pattern's alternatives those that no line of a script answers to: a case that was renamed is missed."""
    seen = re.findall(r"^(?:ok|FAIL|SKIP) ([^:\n]+)", text, re.M)
    if not pattern or re.search(r"^(ok|FAIL) ", text, re.M) is None:  # nothing could be run, which is said elsewhere
        return []
    wanted = re.sub(r"^\^\(?|\)?\$$", "", pattern).split("|")
    return [one for one in wanted if not any(re.fullmatch(one, name) for name in seen)]


def count_page(name, text, counted, done):
    """The page's tests print "ok NAME (1.2 s)", "FAILED NAME", "skipped NAME (why)". `done` holds what passed before."""
    for word, case in re.findall(r"^(ok|FAILED|skipped)\s+(.+?)(?: \([^()]*\))?$", text, re.M):
        if word == "ok":
            counted.add(1)
            done.add(case)
        elif word == "FAILED":
            counted.add(failed=[f"{name}: {case}"])
        elif case not in done:
            counted.add(skipped=[f"{name}: {case}"])


def states_visited(path, name):
    with open(path) as lines:
        for entry in map(json.loads, lines):
            if entry["name"].split(" / ")[-1] == name:
                states = re.findall(r"^states (\d+) violations 0\b", entry.get("stdout") or "", re.M)
                return int(states[-1]) if states else 0
    return 0


def libraries_not_set_up():
    """What meson.build asks for and tools/setup does not look for."""
    with open(os.path.join(ROOT, "meson.build")) as build, open(os.path.join(ROOT, "tools", "setup")) as setup:
        wanted = re.findall(r"^\w+ = dependency\('([^']+)'", build.read(), re.M)
        known = re.findall(r"package:(\S+)", setup.read())
    return [name for name in wanted if name not in known and name != "threads"]


def plant_names():
    with open(os.path.join(ROOT, "src", "base", "plant.h")) as file:
        return re.findall(r'^\s*X\(PLANT_\w+,\s*"([^"]+)"', file.read(), re.M)


def main():
    parser = argparse.ArgumentParser(prog="./check", description="runs the whole test suite")
    parser.add_argument("--long", action="store_true", help="more seeds, longer kills and fuzzing")
    parser.add_argument("--services", action="store_true",
                        help="also with a real Apache Kafka, from Maven Central (needs java 17 and mvn): its tools and its broker read "
                        "our segments, ours reads what the broker wrote. Cassandra and S3 are not built yet")
    parser.add_argument("--services-all", action="store_true",
                        help="the same today: what Spark, Airflow and Connect will be tested with is not built yet")
    parser.add_argument("--plant", metavar="NAME", help="with one known bug planted: must fail; 'list' names them")
    parser.add_argument("--then-plants", action="store_true", help="the suite, then every planted bug, each of which must be found")
    parser.add_argument("--sim", metavar="SEED", type=int, help="one simulated run: states visited, trace hash")
    parser.add_argument("--stage", metavar="NAME", action="append", choices=STAGES,
                        help=f"only this one, after building: {' '.join(STAGES)}")
    arguments = parser.parse_args()
    runner = Runner(arguments.long, arguments.services or arguments.services_all)
    started = time.monotonic()

    if arguments.plant == "list":
        print("\n".join(plant_names()))
        return 0
    if arguments.plant is not None and arguments.plant not in plant_names():
        print(f"./check: no planted bug is called {arguments.plant!r}; --plant list names them", file=sys.stderr)
        return 2
    if arguments.sim is not None:
        folder = runner.build("plants")
        programs = (["sim-engine", "1"], ["sim-log-crash", "20000"])
        return max(subprocess.run([os.path.join(folder, "tests", "sim", name), count, str(arguments.sim)], cwd=ROOT).returncode
                   for name, count in programs)
    if arguments.plant is not None:
        runner.stage("build", lambda: runner.build("plants"))
        found = runner.totals.failed == 0 and runner.plant(arguments.plant)
        runner.totals.add(failed=[f"with {arguments.plant} planted"]) if found else runner.totals.add(1)
        print(f"planted {arguments.plant}: " + ("found" if found else "NOT found by any test"))
    elif arguments.stage:
        runner.stage("build", lambda: runner.build("plants"))
        for name in arguments.stage:
            runner.stage(name, getattr(runner, name))
    else:
        runner.suite()
        if arguments.then_plants:
            runner.stage("plants", runner.all_plants)
    print(f"{(time.monotonic() - started) / 60:.1f} minutes")
    print(runner.totals.line())
    return 1 if runner.totals.failed else 0


if __name__ == "__main__":
    sys.exit(main())
