"""What the benchmarks in a cluster share."""
import json, os, statistics, subprocess, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGE = "baton.dev/bench:1"
SYSTEM = os.environ.get("BATON_SYSTEM_NAMESPACE", "baton-system")
NAMESPACE = "baton-bench"
MISSED = []


def kubectl(*args, given=None, check=True):
    done = subprocess.run(["kubectl", *args], input=given, check=check, text=True, stdout=subprocess.PIPE)
    return done.stdout


def fail(why):
    sys.exit(f"{sys.argv[0]}: {why}")


def image():
    """An image of busybox and the C programs, on every node."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    out = target / "benches"
    out.mkdir(parents=True, exist_ok=True)
    files = ["--file", "/bin/busybox=/bin/busybox"]
    for name in ("bare", "stamp", "nop"):
        built = out / f"{name}-static"
        subprocess.run(["cc", "-O2", "-static", "-o", built, ROOT / f"benches/src/{name}.c"], check=True)
        files += ["--file", f"{built}=/bin/{name}"]
    archive = target / "images/baton-bench.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([ROOT / "images/oci-archive", IMAGE, archive, *files], check=True)
    load = os.environ.get("BATON_LOAD_IMAGE", f"{ROOT}/tests/cluster/cluster load")
    state = os.environ.get("CLUSTER_STATE") or os.path.dirname(os.environ.get("KUBECONFIG", ""))
    subprocess.run([*load.split(), str(archive)], check=True, env=os.environ | {"CLUSTER_STATE": state})


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(len(values) * q))]


def median_ratio(a, b):
    return statistics.median(x / y for x, y in zip(a, b))


def bar(what, value, most, unit=""):
    verdict = "met" if value <= most else "MISSED"
    print(f"  bar: {what}: {value:.3g}{unit}, at most {most:g}{unit}: {verdict}", flush=True)
    if value > most:
        MISSED.append(what)


def container(name, *command, **more):
    return {"name": name, "image": IMAGE, "command": list(command), "imagePullPolicy": "IfNotPresent", **more}


def applied(manifest):
    """Applies it, and tells when that began."""
    start = time.monotonic()
    kubectl("apply", "-f", "-", given=json.dumps(manifest))
    return start


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            fail(f"waited {seconds} s in vain for {what}")
        time.sleep(0.2)


def pods_of(name):
    return kubectl("get", "pods", "-n", SYSTEM, "-l", f"app.kubernetes.io/component={name}", "-o", "jsonpath={.items[*].metadata.name}").split()


def metrics(name):
    proxy = f"/api/v1/namespaces/{SYSTEM}/pods/http:{{}}:8080/proxy/metrics"
    return [kubectl("get", "--raw", proxy.format(pod_name)) for pod_name in pods_of(name)]


def processes(comm):
    """The processes of this name on this machine: their ids."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text().strip() == comm[:15]:
                found.append(int(folder.name))
        except OSError:
            pass
    return found


def cpu(pids):
    """CPU time of processes with all of their threads, in seconds."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def waited(pids):
    """How long threads of these processes were ready to run and had no CPU, in seconds."""
    files = [file for pid in pids for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(file.read_text().split()[1]) for file in files) / 1e9


def rss(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1000


def chosen(parts):
    """The parts that the command line names, or all."""
    known = {part.__name__: part for part in parts}
    unknown = set(sys.argv[1:]) - set(known)
    if unknown:
        fail(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in sys.argv[1:] or known]


def begin():
    """A namespace, with all that pods in it need."""
    image()
    kubectl("create", "namespace", NAMESPACE)
    wait_for(lambda: kubectl("get", "serviceaccount", "default", "-n", NAMESPACE, "--ignore-not-found"), 60, "the default service account")


def end():
    kubectl("delete", "namespace", NAMESPACE, "--wait=true", check=False)


def verdict():
    if MISSED:
        sys.exit(f"missed: {'; '.join(MISSED)}")
