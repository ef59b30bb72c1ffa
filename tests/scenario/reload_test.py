"""SIGHUP: tokens are taken from the configuration as it is now; a broken one changes nothing."""
import hashlib, os, signal, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, Server, arguments

options = arguments("reload")
report = Report()
config = os.path.join(options.scratch, "wick.yaml")


def configure(*tokens, more=""):
    digests = ", ".join(hashlib.sha256(token.encode()).hexdigest() for token in tokens)
    with open(config, "w") as file:
        file.write(f"http:\n  tokens: [{digests}]\n{more}")


def status(token):
    return server.request("GET", "/v1/series", headers={"Authorization": "Bearer " + token})[0]


def reload(said):
    """Until the program has said so: its lines of before do not count."""
    del server.said[:]
    server.process.send_signal(signal.SIGHUP)
    for _ in range(200):
        if any(said in line for line in server.said):
            return
        time.sleep(0.05)
    raise AssertionError(f"{said!r} was not said: {server.said}")


def tokens_change():
    assert (status("one"), status("two")) == (200, 401)
    configure("one", "two")
    assert status("two") == 401
    reload("renewed")
    assert (status("one"), status("two")) == (200, 200)
    configure("two")
    reload("renewed")
    assert (status("one"), status("two")) == (401, 200)


def a_broken_file_changes_nothing():
    configure("three", more="  surely: not\n")
    reload("wick.yaml:3:3")
    assert (status("two"), status("three")) == (200, 401)
    for more, said in (("  listen: 0.0.0.0\n", "wick.yaml:3:11: http.listen: \"0.0.0.0\" is no address"), ("  certificate: x\n", "wick.yaml:3:16: http.certificate: http.key is missing"),
                       (f"  certificate: {__file__}\n  key: {__file__}\n", f"{__file__}: this does not hold a certificate"), ("---\nhttp: {}\n", "wick.yaml:3:1: a second document")):
        configure("three", more=more)
        reload(said)
        assert (status("two"), status("three")) == (200, 401), said
    os.remove(config)
    reload("wick.yaml")
    assert status("two") == 200


configure("one")
server = Server(options.wick, os.path.join(options.scratch, "data"), config)
server._address.wait(30)
for case in (tokens_change, a_broken_file_changes_nothing):
    report.case(case.__name__.replace("_", "-"), case)
report.check("stops-cleanly", server.stop() == 0)
sys.exit(report.done())
