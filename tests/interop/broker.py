"""A real Kafka broker of one node (KRaft), for as long as a test needs it. Its jars come from Maven Central once (pom.xml)."""
import glob, os, shutil, socket, subprocess, time

HERE = os.path.dirname(os.path.abspath(__file__))
KEEP = os.path.join(HERE, "..", "..", "build-check")  # what is downloaded stays for the next run
VERSION = "4.3.1"
SETTINGS = """process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{control}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{control}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{control}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""


def quiet(*words, **more):
    done = subprocess.run(words, capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words[:5])}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout


def kafka_jars():
    lib = os.path.join(KEEP, f"kafka-{VERSION}")
    if not glob.glob(os.path.join(lib, "kafka-tools-*.jar")):
        quiet("mvn", "-q", "-B", "-f", os.path.join(HERE, "pom.xml"), "dependency:copy-dependencies", "-DincludeScope=runtime",
              f"-DoutputDirectory={lib}")
    return os.path.join(lib, "*")


def kafka(tool, *words, **more):
    return quiet("java", "-Xmx256m", "-XX:+UseSerialGC", "-cp", kafka_jars(), tool, *words, **more)


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Broker:
    def __init__(self, folder):
        self.data = os.path.join(folder, "kafka-data")
        self.settings = os.path.join(folder, "server.properties")
        self.said = os.path.join(folder, "kafka.log")
        shutil.rmtree(self.data, ignore_errors=True)
        self.port, control = free_ports(2)
        with open(self.settings, "w") as file:
            file.write(SETTINGS.format(port=self.port, control=control, data=self.data))
        kafka("kafka.tools.StorageTool", "format", "--standalone", "-t", "QmFyZUNhbmRsZXdpY2tJZA", "-c", self.settings)
        self.start()

    def start(self):
        with open(self.said, "a") as said:
            self.process = subprocess.Popen(["java", "-Xmx512m", "-XX:+UseSerialGC", "-cp", kafka_jars(), "kafka.Kafka", self.settings],
                                            stdout=said, stderr=said, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"the broker did not come up: {self.said}")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def address(self):
        return ["--bootstrap-server", f"127.0.0.1:{self.port}"]

    def create(self, topic):
        kafka("org.apache.kafka.tools.TopicCommand", *self.address(), "--create", "--topic", topic, "--partitions", "1")

    def produce(self, topic, lines, codec):
        kafka("org.apache.kafka.tools.ConsoleProducer", *self.address(), "--topic", topic, "--compression-codec", codec,
              "--reader-property", "parse.key=true", "--reader-property", "key.separator=|", input="\n".join(lines) + "\n")

    def consume(self, topic, count):
        """Lines "offset|key|value"."""
        out = kafka("org.apache.kafka.tools.consumer.ConsoleConsumer", *self.address(), "--topic", topic, "--from-beginning",
                    "--max-messages", str(count), "--timeout-ms", "20000", "--formatter-property", "print.key=true",
                    "--formatter-property", "print.offset=true", "--formatter-property", "key.separator=|")
        return out.splitlines()

    def partition(self, topic):
        return os.path.join(self.data, topic + "-0")
