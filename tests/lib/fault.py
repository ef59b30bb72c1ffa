"""Faults of system calls on demand: fault.c, built and preloaded, and the page by which a test arms it."""
import mmap, os, struct, subprocess

# In the order of fault.c.
KINDS = ["write", "pwrite", "pwritev", "sync", "rename", "open", "unlink", "truncate", "allocate", "mkdir"]
ACTIONS = {"none": 0, "kill": 1, "short": 2, "fail": 3}
ALL = 2**31


def build(name, scratch):
    """tests/lib/NAME.c as a library to preload."""
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".c")
    library = os.path.join(scratch, name + ".so")
    subprocess.run([os.environ.get("CC", "cc"), "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


class Faults:
    """One page; what runs with `env` counts there, and fails as armed."""

    def __init__(self, library, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "faults.page")
        with open(path, "wb") as file:
            file.write(bytes(4096))
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 4096)
        self.env = {"LD_PRELOAD": library, "FAULT_PAGE": path, "FAULT_UNDER": folder}

    def arm(self, kind, action, at, times=1, error=0):
        struct.pack_into("5I", self.map, 4 * len(KINDS), KINDS.index(kind), at, times, ACTIONS[action], error)

    def disarm(self):
        struct.pack_into("I", self.map, 4 * (len(KINDS) + 3), 0)

    def reset(self):
        self.map[:64] = bytes(64)

    def counts(self):
        return dict(zip(KINDS, struct.unpack_from(f"{len(KINDS)}I", self.map)))

    def hits(self):
        return struct.unpack_from("I", self.map, 4 * (len(KINDS) + 5))[0]

    def close(self):
        self.map.close()
        self.file.close()
