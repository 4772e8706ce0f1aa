"""Kubernetes manifests for GKE, on standard output.

python launch/gke/make.py train --name pod --image IMAGE --topology v5e:16x16 --claim runs:/runs \\
    -- --config configs/pod_1b.py --workdir /runs/pod | kubectl apply -f -
python launch/gke/make.py train --name gpus --image IMAGE --nodes 4 --gpus 8 --gpu-type nvidia-h100-80gb ...
python launch/gke/make.py serve --name captions --image IMAGE | kubectl apply -f -

`train` makes a JobSet (jobset.x-k8s.io/v1alpha2, which the cluster must have): one pod a host, one child job a slice.
It restarts as a whole when launch.py was stopped, crashed or lost a host, and goes on from the last checkpoint; exit
statuses 1 (an error to mend) and 2 (wrong arguments) end it. With --queue it waits for Kueue to admit it. `serve` makes
a Deployment and a Service of an image from launch/docker/serving.Dockerfile.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import PurePosixPath

import yaml

from capjax.compile.topology import Topology, TopologyError

# What GKE calls the chips (cloud.google.com/kubernetes-engine/docs/concepts/tpus).
_ACCELERATORS = {"v5e": "tpu-v5-lite-podslice", "v5p": "tpu-v5p-slice", "v6e": "tpu-v6e-slice"}
# Slices that are one host with other than the usual four chips.
_CHIPS_OF_HOST = {"1x1": 1, "2x4": 8}
_PORT = 8476  # of the process that all others meet at
_SERVING = {"grpc": 8500, "rest": 8501}  # TensorFlow Serving's
_USER = 1000  # as in the Dockerfiles


def main(argv: Sequence[str] | None = None) -> int:
    """Prints manifests; returns the exit status: 0, or 2 (wrong arguments)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    split = argv.index("--") if "--" in argv else len(argv)
    parser, train = _parsers()
    args = parser.parse_args(argv[:split])
    if args.command == "train":
        try:
            made = [make_train(args, argv[split + 1 :])]
        except ValueError as error:
            train.error(str(error))
    else:
        made = make_serve(args)
    yaml.safe_dump_all(made, sys.stdout, sort_keys=False, width=120)
    return 0


def _parsers() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="make.py", allow_abbrev=False, description=__doc__, formatter_class=form)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", allow_abbrev=False, help="a JobSet; launch.py's arguments stand behind --")
    serve = commands.add_parser("serve", allow_abbrev=False, help="a Deployment and a Service")
    for command in (train, serve):
        command.add_argument("--name", type=_name, required=True, help="lower-case letters, digits and hyphens")
        command.add_argument("--image", type=_image, required=True, help="with its tag or digest")
        command.add_argument("--namespace", type=_name, help="default: kubectl's")
    add = train.add_argument
    add("--topology", type=_topology, metavar="NAME", help="a TPU slice such as v5e:16x16; 4xv5e:16x16 for four")
    add("--nodes", type=_count, default=1, metavar="N", help="of GPUs (default: 1)")
    add("--gpus", type=_count, metavar="N", help="of each node")
    add("--gpu-type", type=_name, metavar="NAME", help="GKE's name for it, such as nvidia-h100-80gb")
    add("--claim", type=_claim, action="append", default=[], metavar="NAME:PATH", help="a PersistentVolumeClaim, and "
        "where launch.py sees it; all pods must be able to write it. May be given again")  # fmt: skip
    add("--queue", type=_name, metavar="NAME", help="Kueue's LocalQueue")
    add("--spot", action="store_true", help="on spot nodes")
    add("--max-restarts", type=_count, default=20, metavar="N", help="of the whole job (default: 20)")
    add("--grace", type=_count, default=120, metavar="SECONDS", help="to save in when stopped (default: 120)")
    add = serve.add_argument
    add("--model", type=_name, default="captions", metavar="NAME", help="MODEL of the image (default: captions)")
    add("--replicas", type=_count, default=2, metavar="N", help="default: 2")
    add("--cpu", type=_count, default=4, metavar="N", help="cores of each (default: 4)")
    add("--memory", type=_count, default=8, metavar="GIB", help="of each (default: 8)")
    return parser, train


def make_train(args: argparse.Namespace, arguments: Sequence[str]) -> dict:
    """The JobSet.

    Raises:
      ValueError: arguments that do not go together; the message names them.
    """
    if (args.topology is None) == (args.gpus is None):
        raise ValueError("give either --topology (TPU) or --gpus and --gpu-type")
    if args.gpus and not args.gpu_type:
        raise ValueError("--gpu-type is missing, such as nvidia-h100-80gb")
    if args.topology and (args.nodes > 1 or args.gpu_type):
        raise ValueError("--nodes and --gpu-type go with --gpus; the hosts of a TPU slice follow from --topology")
    _check_workdir(arguments, [path for _, path in args.claim])
    pod = _tpu_pod(args) if args.topology else _gpu_pod(args)
    container = {
        "name": "train",
        "image": args.image,
        "args": list(arguments),  # behind the image's own `python launch.py`
        **pod["container"],
        "volumeMounts": [
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
            *({"name": name, "mountPath": path} for name, path in args.claim),
        ],
    }
    template = {
        "spec": {
            "restartPolicy": "Never",  # the JobSet restarts: all hosts or none
            "terminationGracePeriodSeconds": args.grace,
            "nodeSelector": pod["nodes"] | ({"cloud.google.com/gke-spot": "true"} if args.spot else {}),
            "tolerations": pod["tolerations"] + ([_tolerate("cloud.google.com/gke-spot", "true")] if args.spot else []),
            "securityContext": {"fsGroup": _USER},
            "containers": [container],
            "volumes": [
                {"name": "shm", "emptyDir": {"medium": "Memory"}},  # a container has 64 MB of it otherwise
                *({"name": name, "persistentVolumeClaim": {"claimName": name}} for name, _ in args.claim),
            ],
        }
    }
    job = {
        "parallelism": pod["hosts"],
        "completions": pod["hosts"],
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": "train", "operator": "In", "values": [1, 2]},
                }
            ]
        },
        "template": template,
    }
    metadata = _metadata(args)
    if args.queue:
        metadata["labels"]["kueue.x-k8s.io/queue-name"] = args.queue
    if args.topology:  # each slice is a node pool, and a slice is of one job alone
        metadata["annotations"] = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": metadata,
        "spec": {
            "suspend": bool(args.queue),  # Kueue lets it go
            # A headless Service by this name gives each pod NAME-hosts-SLICE-HOST.NAME.
            "network": {"enableDNSHostnames": True, "subdomain": args.name, "publishNotReadyAddresses": True},
            "failurePolicy": {
                "maxRestarts": args.max_restarts,
                "rules": [
                    {"name": "errorToMend", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]},
                ],
            },
            "replicatedJobs": [{"name": "hosts", "replicas": pod["replicas"], "template": {"spec": job}}],
        },
    }


def _tpu_pod(args: argparse.Namespace) -> dict:
    shape = "x".join(map(str, args.topology.shape))
    chips = args.topology.count // args.topology.slices
    of_host = _CHIPS_OF_HOST.get(shape, 4)
    return {
        "hosts": chips // of_host,
        "replicas": args.topology.slices,
        "nodes": {
            "cloud.google.com/gke-tpu-accelerator": _ACCELERATORS[args.topology.kind],
            "cloud.google.com/gke-tpu-topology": shape,
        },
        "tolerations": [_tolerate("google.com/tpu", "present")],
        "container": {
            # libtpu opens the host's devices and locks memory.
            "securityContext": {"privileged": True, "runAsUser": 0},
            "ports": [{"containerPort": port} for port in (8471, 8080)],  # within a slice, and between slices
            "resources": {"limits": {"google.com/tpu": of_host}},
        },
    }


def _gpu_pod(args: argparse.Namespace) -> dict:
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    meeting = [
        {"name": "CAPJAX_COORDINATOR", "value": f"{args.name}-hosts-0-0.{args.name}:{_PORT}"},
        {"name": "CAPJAX_PROCESSES", "value": str(args.nodes)},
        {"name": "CAPJAX_PROCESS", "valueFrom": {"fieldRef": {"fieldPath": index}}},
    ]
    return {
        "hosts": args.nodes,
        "replicas": 1,
        "nodes": {"cloud.google.com/gke-accelerator": args.gpu_type},
        "tolerations": [_tolerate("nvidia.com/gpu", "present")],
        "container": {
            "securityContext": {"runAsNonRoot": True, "allowPrivilegeEscalation": False},
            "env": meeting if args.nodes > 1 else [],
            "ports": [{"containerPort": _PORT}],
            "resources": {"limits": {"nvidia.com/gpu": args.gpus}},
        },
    }


def make_serve(args: argparse.Namespace) -> list[dict]:
    """The Deployment, and the Service in front of it."""
    labels = {"app.kubernetes.io/name": args.name}
    probe = {"httpGet": {"path": f"/v1/models/{args.model}", "port": "rest"}}
    size = {"cpu": str(args.cpu), "memory": f"{args.memory}Gi"}
    container = {
        "name": "serve",
        "image": args.image,
        "ports": [{"name": name, "containerPort": port} for name, port in _SERVING.items()],
        "startupProbe": probe | {"periodSeconds": 5, "failureThreshold": 120},  # weights are read, warm-up requests run
        "readinessProbe": probe | {"periodSeconds": 5},
        "resources": {"requests": size, "limits": {"memory": size["memory"]}},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(args),
        "spec": {
            "replicas": args.replicas,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(args),
        "spec": {
            "selector": labels,
            "ports": [{"name": name, "port": port, "targetPort": name} for name, port in _SERVING.items()],
        },
    }
    return [deployment, service]


def _metadata(args: argparse.Namespace) -> dict:
    namespace = {"namespace": args.namespace} if args.namespace else {}
    return {"name": args.name, **namespace, "labels": {"app.kubernetes.io/name": args.name}}


def _tolerate(key: str, value: str) -> dict:
    return {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}


def _check_workdir(arguments: Sequence[str], mounts: Sequence[str]):
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    reader.add_argument("--workdir")
    workdir = reader.parse_known_args(arguments)[0].workdir
    if not workdir:
        raise ValueError("the arguments of launch.py stand behind --, with --workdir")
    if not any(PurePosixPath(workdir).is_relative_to(mount) for mount in mounts):
        raise ValueError(
            f"--workdir {workdir} ends with its pod: it should lie under a --claim NAME:PATH"
            + (f" ({', '.join(mounts)})" if mounts else "")
        )


def _checked(pattern: str, expected: str):
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"{text!r}: expected {expected}")
        return text

    return parse


# A pod's hostname is NAME-hosts-SLICE-HOST, of 63 characters at most.
_name = _checked(r"[a-z]([-a-z0-9]{0,46}[a-z0-9])?", "up to 48 lower-case letters, digits and hyphens")
_image = _checked(r"[^\s@:]+(:\d+/[^\s@:]+)?(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?", "REPOSITORY[:TAG][@DIGEST]")


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,6}", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 1 or more")
    return int(text)


def _topology(text: str) -> Topology:
    try:
        return Topology.parse(text)
    except TopologyError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _claim(text: str) -> tuple[str, str]:
    name, _, path = text.partition(":")
    if not path.startswith("/") or path == "/":
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME:/PATH")
    return _name(name), path


if __name__ == "__main__":
    sys.exit(main())
