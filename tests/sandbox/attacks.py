"""The hostile programs: each a spoken name, the program, and what has to come of it.

A program that only asks prints what it was answered: the name of the error, or DONE when nobody
stopped it. All rows run on both launchers; `outcomes` holds what either may answer.
"""

from dataclasses import dataclass

# What every program begins with.
PRELUDE = """
import ctypes, errno, os, platform, signal, socket, struct, subprocess, sys, threading, time
def name_of(error):
    return errno.errorcode.get(error.errno, type(error).__name__)
def attempt(step):
    try:
        step()
    except OSError as error:
        print(name_of(error))
    except Exception as error:
        print(type(error).__name__)
    else:
        print("DONE")
def call(x86_64, aarch64, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    number = x86_64 if platform.machine() == "x86_64" else aarch64
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
"""

# A socket is refused before it exists: not one packet can leave, whatever the address.
NO_SOCKET = ("EPERM",)
NO_CALL = ("EPERM",)
# Not there, or there and closed.
NO_FILE = ("ENOENT", "EACCES", "EPERM")
# The interpreter alone was given up, not the jail: the descriptors to the server are out of reach.
LOST = "the interpreter ended"
READ_ONLY = ("EROFS", "EACCES", "ENOENT", "EPERM")


@dataclass(frozen=True, slots=True)
class Attack:
    """One row. Empty `outcomes` leave stdout open; `limits` are those that must be named."""

    name: str
    code: str
    outcomes: tuple[str, ...] = ()
    exit_codes: tuple[int, ...] = (0,)
    limits: tuple[str, ...] = ()
    language: str = "python"
    timeout_s: float = 10.0
    # It can take a machine down that nothing bounds.
    is_swarm: bool = False
    # What stderr has to say.
    says: str = ""


def connect(name: str, address: str, family: str = "AF_INET") -> Attack:
    """A row that connects a TCP socket."""
    code = f"attempt(lambda: socket.socket(socket.{family}).connect({address}))"
    return Attack(f"connects to {name}", code, NO_SOCKET)


def asks(name: str, expression: str, outcomes: tuple[str, ...]) -> Attack:
    """A row that tries one expression."""
    return Attack(name, f"attempt(lambda: {expression})", outcomes)


NETWORK = (
    connect("loopback", '("127.0.0.1", LISTENER)'),
    connect("the gateway's own port by name", '("localhost", LISTENER)'),
    connect("a public address", '("192.0.2.1", 443)'),
    connect("the instance metadata", '("169.254.169.254", 80)'),
    connect("the task metadata", '("169.254.170.2", 80)'),
    connect("IPv6 loopback", '("::1", LISTENER)', "AF_INET6"),
    connect("the S3 endpoint by name", '("s3.eu-central-2.amazonaws.com", 443)'),
    connect("the logs endpoint by name", '("logs.eu-central-2.amazonaws.com", 443)'),
    connect("a unix socket", '"/var/run/docker.sock"', "AF_UNIX"),
    connect("an abstract unix socket", '"\\0/tmp/.X11-unix/X0"', "AF_UNIX"),
    asks("sends UDP", "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)", NO_SOCKET),
    asks("opens a raw socket", "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", NO_SOCKET),
    asks("opens vsock", "socket.socket(40, socket.SOCK_STREAM)", NO_SOCKET),
    asks("opens netlink", "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", NO_SOCKET),
    asks("opens a packet socket", "socket.socket(17, socket.SOCK_RAW)", NO_SOCKET),
    asks("opens the kernel's crypto", "socket.socket(38, 5)", NO_SOCKET),
    asks("makes a pair that could send to named sockets", "socket.socketpair(1, 2)", NO_SOCKET),
    asks("asks DNS", 'socket.getaddrinfo("example.com", 443)', ("gaierror",)),
    Attack(
        "connects from R",
        'cat(tryCatch({socketConnection("127.0.0.1", LISTENER, timeout=2); "DONE"},'
        ' error=function(e) "EPERM", warning=function(w) "EPERM"))',
        NO_SOCKET,
        language="r",
    ),
)

FILES = (
    asks("reads /etc/shadow", 'open("/etc/shadow").read()', NO_FILE),
    Attack(
        "reads the host's accounts",
        "try: print(sum(':/home/' in line for line in open('/etc/passwd')))\n"
        "except OSError as error: print(name_of(error))",
        (*NO_FILE, "0"),
    ),
    asks("lists /root", 'os.listdir("/root")', NO_FILE),
    Attack(
        "lists /home",
        "try: print(len(os.listdir('/home')))\nexcept OSError as error: print(name_of(error))",
        (*NO_FILE, "0"),
    ),
    asks("reads the project", 'open("PROJECT/pyproject.toml").read()', NO_FILE),
    asks("reads the server's code", 'open("/app/sandbox_fargate/server.py").read()', NO_FILE),
    asks(
        "reads the image's code", 'open("/opt/phigate/sandbox_fargate/server.py").read()', NO_FILE
    ),
    Attack(
        "lists what others have under /usr/local/lib",
        "own = {'R'}\n"
        "if sys.base_prefix in ('/usr', '/usr/local'): own.add(f'python3.{sys.version_info[1]}')\n"
        "def others(path, own):\n"
        "    return [name for name in os.listdir(path) if name not in own]\n"
        "try: print([name for name in others('/usr/local/lib', own) if name[:9] != 'libpython'],"
        " others('/usr/local/lib/R', {'site-library'}))\n"
        "except OSError as error: print(name_of(error))",
        (*NO_FILE, "[] []"),
    ),
    asks("reads what others have there", 'open("/usr/local/lib/PLANTED/secret").read()', NO_FILE),
    Attack(
        "lists from R what others have under /usr/local/lib",
        'found <- setdiff(list.files("/usr/local/lib"), "R")\n'
        'found <- found[!grepl("^(lib)?python", found)]\n'
        'cat(if (length(found)) found else "none")',
        ("none",),
        language="r",
    ),
    Attack(
        "reads from R what others have there",
        'cat(tryCatch({readLines("/usr/local/lib/PLANTED/secret"); "DONE"},'
        ' error=function(e) "ENOENT", warning=function(w) "ENOENT"))',
        NO_FILE,
        language="r",
    ),
    asks("reads Docker's socket", 'open("/var/run/docker.sock").read()', (*NO_FILE, "ENXIO")),
    asks("reads kernel memory", 'open("/dev/kmem").read(1)', NO_FILE),
    asks("reads the disk", 'open("/dev/vda", "rb").read(1)', NO_FILE),
    asks("reads kernel messages", 'open("/dev/kmsg").read(1)', NO_FILE),
    asks("reads the kernel's core", 'open("/proc/kcore", "rb").read(1)', NO_FILE),
    asks("writes to /etc", 'open("/etc/evil", "w").write("x")', READ_ONLY),
    asks("writes to /usr", 'open("/usr/lib/evil", "w").write("x")', READ_ONLY),
    asks("writes to /", 'open("/evil", "w").write("x")', READ_ONLY),
    asks("writes to /dev", 'open("/dev/evil", "w").write("x")', READ_ONLY),
    asks("writes to the libraries", 'open(os.__file__, "a").write("x")', READ_ONLY),
    asks("writes to /proc/sys", 'open("/proc/sys/kernel/hostname", "w").write("x")', READ_ONLY),
    asks("writes to a cgroup", 'open("/sys/fs/cgroup/cgroup.procs", "w").write("0")', READ_ONLY),
    asks("leaves through /proc/1/root", 'os.listdir("/proc/1/root")', NO_FILE),
)

ENVIRONMENT = (
    Attack(
        "reads its environment",
        "print([name for name in os.environ if 'TOKEN' in name or 'PHIGATE' in name"
        " or 'AWS' in name or 'SECRET' in name])",
        ("[]",),
    ),
    Attack(
        "reads every environment in /proc",
        "found = b''\n"
        "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "    try: found += open(f'/proc/{pid}/environ', 'rb').read()\n"
        "    except OSError: pass\n"
        "print(b'MARKER' in found, b'TOKEN' in found)",
        ("False False",),
    ),
    asks("reads /proc/1/environ", 'open("/proc/1/environ", "rb").read()', NO_FILE),
    asks("reads its supervisor's memory", "open(f'/proc/{os.getppid()}/mem', 'rb')", NO_FILE),
    asks("lists its supervisor's descriptors", "os.listdir(f'/proc/{os.getppid()}/fd')", NO_FILE),
    Attack(
        "sees other processes' commands",
        "print(any(b'MARKER' in open(f'/proc/{pid}/cmdline', 'rb').read()"
        " for pid in os.listdir('/proc') if pid.isdigit()))",
        ("False",),
    ),
)

CALLS = (
    asks("traces its supervisor", "call(101, 117, 16, os.getppid(), 0, 0)", NO_CALL),
    asks("reads another process's memory", "call(310, 270, os.getppid(), 0, 0, 0, 0, 0)", NO_CALL),
    asks("loads bpf", "call(321, 280, 0, 0, 0)", NO_CALL),
    asks("sets up io_uring", "call(425, 425, 8, 0)", NO_CALL),
    asks("asks for a key", "call(250, 219, 0, 0, 0)", NO_CALL),
    asks("adds a key", "call(248, 217, 0, 0, 0, 0, 0)", NO_CALL),
    asks("opens userfaultfd", "call(323, 282, 0)", NO_CALL),
    asks("opens perf events", "call(298, 241, 0, 0, -1, -1, 0)", NO_CALL),
    asks("mounts", 'call(165, 40, b"none", b"/tmp", b"tmpfs", 0, 0)', NO_CALL),
    asks("opens a tree of mounts", "call(428, 428, -100, b'/', 1)", NO_CALL),
    asks("unshares a user namespace", "call(272, 97, 0x10000000)", NO_CALL),
    asks("clones into a namespace", "call(56, 220, 0x10000000 | 17, 0, 0, 0, 0)", NO_CALL),
    asks("clones the new way", "call(435, 435, 0, 0)", ("ENOSYS",)),
    asks("joins a namespace", "call(308, 268, 0, 0)", NO_CALL),
    asks("makes a device", 'os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0))', NO_CALL),
    asks("changes its root", 'os.chroot("/tmp")', NO_CALL),
    asks("becomes root", "os.setuid(0)", NO_CALL),
    asks("loads a module", "call(313, 273, 0, b'', 0)", NO_CALL),
    asks("sets the clock", "time.clock_settime(time.CLOCK_REALTIME, 0)", NO_CALL),
    asks("sets the host's name", 'socket.sethostname("evil")', NO_CALL),
    asks("restarts the machine", "call(169, 142, 0, 0, 0, 0)", NO_CALL),
    asks("reads kernel messages by call", "call(103, 116, 3, 0, 0)", NO_CALL),
    asks("types into its terminal", "__import__('fcntl').ioctl(0, 0x5412, b'x')", NO_CALL),
    asks("opens a file by handle", "call(304, 265, -1, 0, 0)", NO_CALL),
    asks("makes an anonymous file", 'os.memfd_create("x")', NO_CALL),
    asks("makes shared memory that stays", "call(29, 194, 1, 4096, 0o1600)", NO_CALL),
    asks("makes a message queue that stays", "call(240, 180, b'x', 0x42, 0o600, 0)", NO_CALL),
    asks("lifts its limits", "__import__('resource').setrlimit(6, (9999, 9999))", ("ValueError",)),
    Attack("calls through the old door", "OLD_DOOR", (), (0, 159, 139)),
)

# On x86_64 the 32-bit table is a way round a filter that does not look at the architecture.
OLD_DOOR = """
import mmap
if platform.machine() == "x86_64":
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(bytes.fromhex("b814000000cd80c3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    print("DONE")
"""

BOMBS = (
    Attack(
        "fills memory",
        "def fill():\n    held = []\n    while True: held.append(bytearray(1 << 26))\nfill()",
        exit_codes=(1, 137),
        limits=("memory",),
        is_swarm=True,
    ),
    Attack(
        "fills memory from many processes",
        "for _ in range(12):\n"
        "    if os.fork() == 0:\n"
        "        held = bytearray(1 << 30)\n"
        "        for place in range(0, 1 << 30, 4096): held[place] = 1\n"
        "        time.sleep(30)\n"
        "time.sleep(30)",
        exit_codes=(137,),
        limits=("memory",),
        is_swarm=True,
        timeout_s=20,
    ),
    Attack(
        "forks without end",
        "while True:\n    try: os.fork()\n    except OSError: pass",
        exit_codes=(137,),
        is_swarm=True,
        timeout_s=2,
    ),
    Attack(
        "starts threads without end",
        "while True: threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
        exit_codes=(1,),
        limits=("processes",),
        is_swarm=True,
    ),
    Attack(
        "fills the disk",
        "for number in range(1000):\n"
        "    open(f'/tmp/f{number}', 'wb').write(bytes(1 << 24))\n"
        "time.sleep(5)",
        exit_codes=(1, 137),
        limits=("disk",),
        is_swarm=True,
        timeout_s=20,
    ),
    Attack(
        "makes files without end",
        "for number in range(10**7): open(f'/tmp/i{number}', 'w').close()",
        exit_codes=(1, 137),
        limits=("disk",),
        is_swarm=True,
        timeout_s=20,
    ),
    Attack(
        "writes one large file",
        "file = open('/tmp/large', 'wb')\nwhile True: file.write(bytes(1 << 20)); file.flush()",
        exit_codes=(1,),
        limits=("file_size",),
        is_swarm=True,
    ),
    Attack(
        "opens descriptors without end",
        "def hold():\n    held = []\n    while True: held.append(open('/dev/null'))\nhold()",
        exit_codes=(1,),
        limits=("files",),
    ),
    Attack(
        "prints without end",
        "while True: print('x' * 100_000)",
        exit_codes=(137,),
        limits=("wall", "output"),
        timeout_s=1,
    ),
    Attack(
        "prints much to both streams",
        "print('x' * 10**7); print('y' * 10**7, file=sys.stderr)",
        limits=("output",),
    ),
    Attack("shows a huge value", "'x' * 10**8", limits=("output",)),
    Attack(
        "nests folders deeply",
        "for _ in range(3000):\n    os.mkdir('d'); os.chdir('d')\nprint('nested')",
        ("nested",),
    ),
    Attack(
        "leaves files that nobody may touch",
        "os.makedirs('/tmp/closed/inner'); open('/dev/shm/left', 'w').write('x')\n"
        "os.chmod('/tmp/closed', 0)\nprint('left')",
        ("left",),
    ),
)

ENDLESS = (
    Attack("loops", "while True: pass", exit_codes=(137,), limits=("wall",), timeout_s=0.5),
    Attack("sleeps", "time.sleep(99)", exit_codes=(137,), limits=("wall",), timeout_s=0.5),
    Attack(
        "ignores signals",
        "for number in range(1, 65):\n"
        "    try: signal.signal(number, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "while True: pass",
        exit_codes=(137,),
        limits=("wall",),
        timeout_s=0.5,
    ),
    Attack(
        "loops in C",
        "print(9**9**9)",
        exit_codes=(1, 137),
        timeout_s=0.5,
    ),
    Attack(
        "leaves a daemon",
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(99)\n"
        "    os._exit(0)\n"
        "os.wait()\nprint('left')",
        ("left",),
    ),
    Attack(
        "leaves a daemon that holds stdout and writes",
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    while True: os.write(1, b'z' * 10)\n"
        "print('left')",
        exit_codes=(0,),
    ),
    Attack(
        "lets a child run past its end",
        "child = os.fork()\nif child: os.waitpid(child, 0); print('once')",
        ("once",),
    ),
    Attack(
        "ends every process it can",
        "os.kill(-1, 9); print('alone')",
        exit_codes=(0, 1, 137),
    ),
    Attack("ends its supervisor", "os.kill(os.getppid(), 9); time.sleep(1)", (), (0, 137)),
    Attack("stops its supervisor", "os.kill(os.getppid(), 19)", (), (0, 137), timeout_s=0.5),
    Attack("ends process 1", "attempt(lambda: os.kill(1, 9)); time.sleep(.1)", ("DONE", "EPERM")),
    Attack("loops in R", "repeat {}", (), (137,), ("wall",), language="r", timeout_s=1),
)

BROKEN = (
    Attack("ends with a segmentation fault", "ctypes.string_at(0)", exit_codes=(139,)),
    Attack("ends at once", "os._exit(7)", exit_codes=(7,)),
    Attack("aborts", "os.abort()", exit_codes=(134,)),
    Attack("recurses without end", "f = lambda: f()\nf()", exit_codes=(1,)),
    Attack(
        "overflows the stack",
        "sys.setrecursionlimit(10**9)\n"
        "class A:\n    def __repr__(self): return repr([self])\n"
        "repr(A())",
        exit_codes=(1, 139),
    ),
    Attack("has a null byte", "print('a\0b')", exit_codes=(1,)),
    Attack("has a lone surrogate", "print('\ud800')", exit_codes=(1,)),
    Attack("prints bad unicode", "os.write(1, b'\\xff\\xfe'); print('\\ud800')"),
    Attack("shows bad unicode", "'\\ud800'"),
    Attack("has 10 MB", "x = 1\n" * 1_700_000, exit_codes=(1,), limits=("code",)),
    Attack("nests deeply", "(" * 50_000, exit_codes=(1, 137)),
    Attack(
        "writes garbage to its supervisor", "FORGE(b'garbage' * 99)", exit_codes=(137,), says=LOST
    ),
    Attack(
        "claims a frame without end",
        "FORGE(struct.pack('>cI', b'F', 0xFFFFFFFF))",
        exit_codes=(137,),
        says=LOST,
    ),
    Attack(
        "forges a result",
        "FORGE(struct.pack('>cI', b'D', 9) + b'{\"a\": []}')",
        exit_codes=(137,),
        says=LOST,
    ),
    Attack(
        "forges a result with a deep nest",
        "FORGE(struct.pack('>cI', b'D', 100_000) + b'[' * 100_000)",
        exit_codes=(137,),
        says=LOST,
    ),
    Attack("closes every descriptor", "os.closerange(0, 999)", exit_codes=(0, 1, 137)),
    Attack(
        "replaces what the runner stands on",
        "import json\nos.write = os.read = json.loads = json.dumps = None",
        exit_codes=(0, 1, 137),
    ),
    Attack(
        "raises what cannot be shown", "class E(Exception):\n    __str__ = 0\nraise E", (), (1,)
    ),
    Attack("exits with a story", "sys.exit('no')", exit_codes=(1,)),
    Attack("is empty", ""),
)

# Writes to every descriptor that a program finds open.
FORGE = """
def FORGE(data):
    for descriptor in range(3, 256):
        try: os.write(descriptor, data)
        except OSError: pass
    time.sleep(5)
"""

FAST = (*NETWORK, *FILES, *ENVIRONMENT, *CALLS, *ENDLESS, *BROKEN)
SWARMS = BOMBS


def program(attack: Attack, words: dict[str, str]) -> str:
    """The whole program of a row."""
    code = attack.code.replace("OLD_DOOR", OLD_DOOR)
    for word, value in words.items():
        code = code.replace(word, value)
    if attack.language == "r" or len(code) > 1 << 20 or attack.name in UNPREPARED:
        return code
    return f"{PRELUDE}{FORGE if 'FORGE' in code else ''}{code}"


# The program after each row: it works, and makes room for the next row.
FOLLOWING = """
import os, shutil
for root in ("/tmp", "/dev/shm"):
    for name in os.listdir(root):
        path = os.path.join(root, name)
        if os.lstat(path).st_uid == os.getuid() and not name.startswith((".", "run-")):
            os.path.isdir(path) and os.chmod(path, 0o700)
            shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.unlink(path)
print("still"); 1 + 1
"""

# Rows that have to be just what they are.
UNPREPARED = ("is empty", "has a lone surrogate", "has a null byte")
