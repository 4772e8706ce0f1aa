# /// script
# requires-python = ">=3.11"
# dependencies = ["capjax", "pyyaml>=6"]
#
# [tool.uv.sources]
# capjax = { path = "../.." }
# ///
"""Prints Kubernetes manifests for GKE.

python launch/gke/make.py train --name pod --image IMAGE --topology v5e:16x16 --claim runs:/runs \\
    -- --config configs/pod_1b.py --workdir /runs/pod | kubectl apply -f -
python launch/gke/make.py train --name gpus --image IMAGE --nodes 4 --gpus 8 --gpu-type nvidia-h100-80gb \\
    --bucket my-bucket:/runs --service-account trainer --secret-env WANDB_API_KEY=wandb:key -- ...
python launch/gke/make.py serve --name captions --image IMAGE | kubectl apply -f -
python launch/gke/make.py server --name captions --image IMAGE --bucket my-bucket:/models --api-keys keys \\
    -- --workdir /models/mine | kubectl apply -f -

`train` makes a JobSet (jobset.x-k8s.io/v1alpha2, which must be installed in the cluster): one pod per host, one child
job per slice. It restarts as a whole when launch.py was stopped, crashed or lost a host, and resumes from the last
checkpoint; exit statuses 1 (an error, or a failure before the first step) and 2 (wrong arguments) end it. With --queue
it waits until Kueue admits it. `serve` makes a Deployment and a Service for an image from
launch/docker/serving.Dockerfile. `server` makes those of `capjax serve` for an image from
launch/docker/server.Dockerfile, with an autoscaler, a disruption budget, a network policy and, with --redis, a Redis
that keeps the jobs of all replicas; arguments of `capjax serve` follow --. The autoscaler reads the metric
capjax_queue_length, which an adapter for Prometheus provides in the cluster; pods serve it at port 9000.

A --claim is a PersistentVolumeClaim that all pods can write, a --bucket a Cloud Storage bucket, mounted with GCS FUSE
(the cluster's add-on must be enabled, and the --service-account needs access to the bucket).
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

try:
    import yaml

    from capjax.compile.topology import Topology, TopologyError
except ModuleNotFoundError as error:
    sys.exit(
        f"make.py: {error.name} is not installed: in the clone, pip install -e '.[gke]'; or start it with: "
        "uv run launch/gke/make.py"
    )

# GKE's names of the chips (cloud.google.com/kubernetes-engine/docs/concepts/tpus).
_ACCELERATORS = {"v5e": "tpu-v5-lite-podslice", "v5p": "tpu-v5p-slice", "v6e": "tpu-v6e-slice"}
# Slices of one host whose number of chips is not the usual four.
_CHIPS_PER_HOST = {"1x1": 1, "2x4": 8}
_COORDINATOR_PORT = 8476
_SERVING_PORTS = {"grpc": 8500, "rest": 8501}  # TensorFlow Serving's
_SERVER_PORT, _METRICS_PORT, _REDIS_PORT = 8000, 9000, 6379
_REDIS_IMAGE = "redis:8.2"
_USER = 1000  # as in the Dockerfiles


def main(argv: Sequence[str] | None = None) -> int:
    """Prints manifests; returns the exit status: 0, or 2 (wrong arguments)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    split = argv.index("--") if "--" in argv else len(argv)
    args = _parser().parse_args(argv[:split])
    try:
        make = {"train": make_train, "serve": make_serve, "server": make_server}[args.command]
        manifests = make(args, argv[split + 1 :])
    except ValueError as error:
        args.usage_error(str(error))
    yaml.safe_dump_all(manifests, sys.stdout, sort_keys=False, width=120)
    return 0


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="make.py", allow_abbrev=False, description=__doc__, formatter_class=formatter)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", allow_abbrev=False, help="a JobSet; launch.py's arguments follow --")
    serve = commands.add_parser("serve", allow_abbrev=False, help="a Deployment and a Service")
    server = commands.add_parser("server", allow_abbrev=False, help="`capjax serve` with all around it; its arguments "
        "follow --")  # fmt: skip
    for command in (train, serve, server):
        command.set_defaults(usage_error=command.error)
        add = command.add_argument
        add("--name", type=_name, required=True, help="lower-case letters, digits and hyphens")
        add("--image", type=_image, required=True, help="with its tag or digest")
        add("--namespace", type=_name, help="default: kubectl's")
        repeated: dict = {"action": "append", "default": []}
        add("--env", type=_env, metavar="NAME=VALUE", help="an environment variable; repeatable", **repeated)
        add("--secret-env", type=_secret_env, metavar="NAME=SECRET:KEY", help="an environment variable from a key of a "
            "Secret; repeatable", **repeated)  # fmt: skip
        add("--service-account", type=_object_name, metavar="NAME", help="default: the namespace's")
        add("--node-selector", type=_label, metavar="KEY=VALUE", help="run only on nodes with this label; repeatable",
            **repeated)  # fmt: skip
        add("--bucket", type=_bucket, metavar="BUCKET:PATH", help="a Cloud Storage bucket, and where it is mounted; "
            "repeatable", **repeated)  # fmt: skip
        serves = command is not train
        add("--cpu", type=_count, default=4 if serves else None, metavar="N", help="requested cores of each pod"
            + " (default: 4)" * serves)  # fmt: skip
        add("--memory", type=_count, default=8 if serves else None, metavar="GIB", help="requested memory of each pod"
            + " (default: 8)" * serves)  # fmt: skip
        add("--claim", type=_claim, action="append", default=[], metavar="NAME:PATH", help="a PersistentVolumeClaim, "
            "and where it is mounted; repeatable")  # fmt: skip
    add = train.add_argument
    add("--topology", type=_topology, metavar="NAME", help="a TPU slice such as v5e:16x16; 4xv5e:16x16 for four")
    add("--nodes", type=_count, default=1, metavar="N", help="number of GPU nodes (default: 1)")
    add("--gpus", type=_count, metavar="N", help="GPUs of each node")
    add("--gpu-type", type=_name, metavar="NAME", help="GKE's name, such as nvidia-h100-80gb")
    add("--queue", type=_name, metavar="NAME", help="Kueue's LocalQueue")
    add("--spot", action="store_true", help="on spot nodes")
    add("--max-restarts", type=_count, default=20, metavar="N", help="of the whole job (default: 20)")
    add("--grace", type=_count, default=120, metavar="SECONDS", help="time to save when stopped (default: 120)")
    add = serve.add_argument
    add("--model", type=_name, default="captions", metavar="NAME", help="MODEL of the image (default: captions)")
    add("--replicas", type=_count, default=2, metavar="N", help="default: 2")
    add = server.add_argument
    add("--min-replicas", type=_count, default=2, metavar="N", help="default: 2")
    add("--max-replicas", type=_count, default=10, metavar="N", help="default: 10")
    add("--queue-length", type=_count, default=32, metavar="N", help="photos that wait in each pod, above which the "
        "autoscaler adds pods (default: 32)")  # fmt: skip
    add("--api-keys", type=_object_name, metavar="SECRET", help="a Secret whose key `keys` is a file of API keys")
    add("--redis", action="store_true", help="also make a Redis, which keeps the jobs of all pods; the image needs the "
        "extra redis")  # fmt: skip
    add("--redis-storage", type=_count, default=10, metavar="GIB", help="disk and memory of Redis (default: 10)")
    add("--from-namespace", type=_name, metavar="NAME", help="let pods of this namespace use the server (default: of "
        "its own)")  # fmt: skip
    return parser


def make_train(args: argparse.Namespace, arguments: Sequence[str]) -> list[dict]:
    """Returns the JobSet.

    Args:
      arguments: of launch.py.

    Raises:
      ValueError: arguments contradict each other; the message names them.
    """
    if (args.topology is None) == (args.gpus is None):
        raise ValueError("give either --topology (TPU) or --gpus and --gpu-type")
    if args.gpus and not args.gpu_type:
        raise ValueError("--gpu-type is missing, such as nvidia-h100-80gb")
    if args.topology and (args.nodes > 1 or args.gpu_type):
        raise ValueError("--nodes and --gpu-type go with --gpus; the hosts of a TPU slice follow from --topology")
    _check_workdir(arguments, [path for _, path in (*args.claim, *args.bucket)])
    pod = _tpu_pod(args) if args.topology else _gpu_pod(args)
    if args.spot:
        pod["nodes"]["cloud.google.com/gke-spot"] = "true"
        pod["tolerations"].append(_toleration("cloud.google.com/gke-spot", "true"))
    container = {
        "name": "train",
        "image": args.image,
        "args": list(arguments),  # appended to the image's `python launch.py`
        **pod["container"],
    }
    volumes = {"shm": ("/dev/shm", {"emptyDir": {"medium": "Memory"}})}  # noqa: S108 - a container has 64 MB otherwise
    volumes |= _claims(args)
    template = _pod_template(args, container, pod["nodes"], pod.get("env", []), pod["limits"], volumes)
    template["spec"] |= {
        "restartPolicy": "Never",  # the JobSet restarts all hosts or none
        "terminationGracePeriodSeconds": args.grace,
        "tolerations": pod["tolerations"],
        "securityContext": {"fsGroup": _USER},
    }
    job = {
        "parallelism": pod["hosts"],
        "completions": pod["hosts"],
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {
                    # docs/guides/hosts.md, section "Exit statuses".
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
    if args.topology:  # a slice is a node pool, and belongs to one child job
        metadata["annotations"] = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}
    jobset = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": metadata,
        "spec": {
            "suspend": bool(args.queue),  # until Kueue admits it
            # A headless Service of this name gives each pod the address NAME-hosts-SLICE-HOST.NAME.
            "network": {"enableDNSHostnames": True, "subdomain": args.name, "publishNotReadyAddresses": True},
            "failurePolicy": {
                "maxRestarts": args.max_restarts,
                "rules": [
                    {"name": "userError", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]},
                ],
            },
            "replicatedJobs": [{"name": "hosts", "replicas": pod["replicas"], "template": {"spec": job}}],
        },
    }
    return [jobset]


def _tpu_pod(args: argparse.Namespace) -> dict:
    shape = "x".join(map(str, args.topology.shape))
    chips = args.topology.count // args.topology.slices
    chips_per_host = _CHIPS_PER_HOST.get(shape, 4)
    return {
        "hosts": chips // chips_per_host,
        "replicas": args.topology.slices,
        "nodes": {
            "cloud.google.com/gke-tpu-accelerator": _ACCELERATORS[args.topology.kind],
            "cloud.google.com/gke-tpu-topology": shape,
        },
        "tolerations": [_toleration("google.com/tpu", "present")],
        "limits": {"google.com/tpu": chips_per_host},
        "container": {
            # libtpu opens the host's devices and locks memory.
            "securityContext": {"privileged": True, "runAsUser": 0},
            "ports": [{"containerPort": port} for port in (8471, 8080)],  # within a slice, and between slices
        },
    }


def _gpu_pod(args: argparse.Namespace) -> dict:
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    rendezvous = [
        {"name": "CAPJAX_COORDINATOR", "value": f"{args.name}-hosts-0-0.{args.name}:{_COORDINATOR_PORT}"},
        {"name": "CAPJAX_PROCESSES", "value": str(args.nodes)},
        {"name": "CAPJAX_PROCESS", "valueFrom": {"fieldRef": {"fieldPath": index}}},
    ]
    return {
        "hosts": args.nodes,
        "replicas": 1,
        "nodes": {"cloud.google.com/gke-accelerator": args.gpu_type},
        "tolerations": [_toleration("nvidia.com/gpu", "present")],
        "limits": {"nvidia.com/gpu": args.gpus},
        "env": rendezvous if args.nodes > 1 else [],
        "container": {
            "securityContext": {"runAsNonRoot": True, "allowPrivilegeEscalation": False},
            "ports": [{"containerPort": _COORDINATOR_PORT}],
        },
    }


def make_serve(args: argparse.Namespace, arguments: Sequence[str] = ()) -> list[dict]:
    """Returns the Deployment of TensorFlow Serving and its Service.

    Raises:
      ValueError: arguments contradict each other; the message names them.
    """
    if arguments:
        raise ValueError(f"serve takes no arguments after --, such as {arguments[0]}")
    labels = {"app.kubernetes.io/name": args.name}
    probe = {"httpGet": {"path": f"/v1/models/{args.model}", "port": "rest"}}
    container = {
        "name": "serve",
        "image": args.image,
        "ports": [{"name": name, "containerPort": port} for name, port in _SERVING_PORTS.items()],
        "startupProbe": probe | {"periodSeconds": 5, "failureThreshold": 120},  # time to load weights and warm up
        "readinessProbe": probe | {"periodSeconds": 5},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    template = _pod_template(args, container, volumes=_claims(args))
    template["metadata"] = {"labels": labels, **template.get("metadata", {})}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(args),
        "spec": {
            "replicas": args.replicas,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0}},
            "template": template,
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(args),
        "spec": {
            "selector": labels,
            "ports": [{"name": name, "port": port, "targetPort": name} for name, port in _SERVING_PORTS.items()],
        },
    }
    return [deployment, service]


def make_server(args: argparse.Namespace, arguments: Sequence[str]) -> list[dict]:
    """Returns the Deployment of `capjax serve` and its Service, HorizontalPodAutoscaler, PodDisruptionBudget and
    NetworkPolicy, and with --redis those of a Redis.

    Args:
      arguments: of `capjax serve`.

    Raises:
      ValueError: arguments contradict each other; the message names them.
    """
    if args.min_replicas > args.max_replicas:
        raise ValueError(f"--min-replicas {args.min_replicas} is more than --max-replicas {args.max_replicas}")
    for name in ("--host", "--port", "--metrics-port", "--api-keys"):
        if any(argument.partition("=")[0] == name for argument in arguments):
            raise ValueError(f"{name} is set by make.py itself; leave it out after --")
    labels = {"app.kubernetes.io/name": args.name}
    volumes = {
        "tmp": ("/tmp", {"emptyDir": {"sizeLimit": "8Gi"}}),  # noqa: S108 - the root file system is read-only
        "cache": ("/cache", {"emptyDir": {"sizeLimit": "8Gi"}}),
        **_claims(args),
    }
    if not any(argument.partition("=")[0] == "--workdir" for argument in arguments):
        arguments = ["--workdir", "captions=/model", *arguments]  # as the image does without arguments
    arguments = [*arguments, "--metrics-port", str(_METRICS_PORT)]
    if args.api_keys:
        volumes["api-keys"] = ("/etc/capjax", {"secret": {"secretName": args.api_keys}})
        arguments += ["--api-keys", "/etc/capjax/keys"]
    if args.redis:
        arguments += ["--jobs", f"redis://{args.name}-redis:{_REDIS_PORT}/0"]
    probe = {"httpGet": {"path": "/readyz", "port": "http"}}
    container = {
        "name": "server",
        "image": args.image,
        "args": arguments,
        "ports": [
            {"name": "http", "containerPort": _SERVER_PORT},
            {"name": "metrics", "containerPort": _METRICS_PORT},
        ],
        "startupProbe": probe | {"periodSeconds": 5, "failureThreshold": 120},  # time to load and to compile
        "readinessProbe": probe | {"periodSeconds": 5},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10, "failureThreshold": 6},
        # Until the pod is no longer among the Service's, new requests still come.
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "securityContext": _RESTRICTED,
    }
    template = _pod_template(args, container, volumes=volumes)
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": str(_METRICS_PORT)}
    template["metadata"] = {
        "labels": labels, "annotations": {**annotations, **template.get("metadata", {}).get("annotations", {})},
    }  # fmt: skip
    template["spec"] |= {"terminationGracePeriodSeconds": 45, "automountServiceAccountToken": bool(args.bucket)}
    template["spec"]["securityContext"] = {"fsGroup": _USER}
    selector = {"matchLabels": labels}
    deployment = _resource(args, "apps/v1", "Deployment", {
        "selector": selector, "strategy": {"rollingUpdate": {"maxUnavailable": 0}}, "template": template,
    })  # fmt: skip
    service = _resource(args, "v1", "Service", {
        "selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
    })  # fmt: skip
    metric = {
        "metric": {"name": "capjax_queue_length"},
        "target": {"type": "AverageValue", "averageValue": str(args.queue_length)},
    }
    autoscaler = _resource(args, "autoscaling/v2", "HorizontalPodAutoscaler", {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": args.name},
        "minReplicas": args.min_replicas, "maxReplicas": args.max_replicas,
        "metrics": [{"type": "Pods", "pods": metric}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
    })  # fmt: skip
    budget = _resource(args, "policy/v1", "PodDisruptionBudget", {"maxUnavailable": 1, "selector": selector})
    clients: dict = {"podSelector": {}}
    if args.from_namespace:
        clients["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": args.from_namespace}}
    egress: list[dict] = [{"ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]}]
    if args.redis:
        egress.append({"to": [{"podSelector": {"matchLabels": _redis_labels(args)}}], "ports": [{"port": _REDIS_PORT}]})
    if args.bucket:  # Cloud Storage, and the metadata server that gives access to it
        egress.append({"ports": [{"port": port} for port in (443, 80, 988)]})
    policy = _resource(args, "networking.k8s.io/v1", "NetworkPolicy", {
        "podSelector": selector, "policyTypes": ["Ingress", "Egress"], "egress": egress,
        "ingress": [
            {"from": [clients], "ports": [{"port": "http"}]},
            {"from": [{"namespaceSelector": {}}], "ports": [{"port": "metrics"}]},
        ],
    })  # fmt: skip
    return [deployment, service, autoscaler, budget, policy, *(_redis(args) if args.redis else ())]


_RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": _USER,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _redis(args: argparse.Namespace) -> list[dict]:
    """A Redis that keeps every write on disk, for the pods of the server alone."""
    labels, name = _redis_labels(args), f"{args.name}-redis"
    memory = f"{args.redis_storage}Gi"
    container = {
        "name": "redis",
        "image": _REDIS_IMAGE,
        "args": [
            "--appendonly",
            "yes",
            "--maxmemory",
            f"{args.redis_storage * 3 // 4 or 1}gb",
            "--maxmemory-policy",
            "noeviction",
        ],
        "ports": [{"name": "redis", "containerPort": _REDIS_PORT}],
        "readinessProbe": {"tcpSocket": {"port": "redis"}, "periodSeconds": 5},
        "resources": {"requests": {"cpu": "1", "memory": memory}, "limits": {"memory": memory}},
        "securityContext": _RESTRICTED,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": f"{2 * args.redis_storage}Gi"}},
        },
    }
    pod = {"containers": [container], "securityContext": {"fsGroup": _USER}, "automountServiceAccountToken": False}
    stateful_set = _resource(args, "apps/v1", "StatefulSet", {
        "serviceName": name, "replicas": 1, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod}, "volumeClaimTemplates": [claim],
    }, name)  # fmt: skip
    service = _resource(args, "v1", "Service", {
        "selector": labels, "clusterIP": "None",
        "ports": [{"name": "redis", "port": _REDIS_PORT, "targetPort": "redis"}],
    }, name)  # fmt: skip
    clients = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": args.name}}}
    policy = _resource(args, "networking.k8s.io/v1", "NetworkPolicy", {
        "podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [clients], "ports": [{"port": "redis"}]}],
    }, name)  # fmt: skip
    return [stateful_set, service, policy]


def _redis_labels(args: argparse.Namespace) -> dict:
    return {"app.kubernetes.io/name": f"{args.name}-redis"}


def _resource(args: argparse.Namespace, version: str, kind: str, spec: dict, name: str = "") -> dict:
    metadata = _metadata(args)
    if name:
        metadata |= {"name": name, "labels": {"app.kubernetes.io/name": name}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _claims(args: argparse.Namespace) -> dict[str, tuple[str, dict]]:
    return {name: (path, {"persistentVolumeClaim": {"claimName": name}}) for name, path in args.claim}


def _pod_template(
    args: argparse.Namespace, container: dict, nodes: dict | None = None, env: Sequence[dict] = (),
    limits: dict | None = None, volumes: dict[str, tuple[str, dict]] | None = None,
) -> dict:  # fmt: skip
    """Returns a pod template with one container and the options that both commands share.

    Args:
      nodes: labels of the nodes that the command itself needs; env and limits likewise.
      volumes: {name: (mount path, source)}.

    Raises:
      ValueError: an option repeats a name, or one that the command sets itself.
    """
    nodes, volumes = dict(nodes or {}), dict(volumes or {})
    for key, value in args.node_selector:
        if key in nodes:
            raise ValueError(f"--node-selector {key}={value}: {key} is {nodes[key]!r} already")
        nodes[key] = value
    env = list(env)
    for variable in (*args.env, *args.secret_env):
        if any(variable["name"] == other["name"] for other in env):
            raise ValueError(f"the environment variable {variable['name']} is set twice, or by make.py itself")
        env.append(variable)
    requests = {"cpu": args.cpu and str(args.cpu), "memory": args.memory and f"{args.memory}Gi"}
    requests = {name: amount for name, amount in requests.items() if amount}
    limits = dict(limits or {}) | {name: requests[name] for name in ("memory",) if name in requests}
    for number, (bucket, path) in enumerate(args.bucket):
        attributes = {"bucketName": bucket, "mountOptions": f"implicit-dirs,uid={_USER},gid={_USER}"}
        source = {"csi": {"driver": "gcsfuse.csi.storage.gke.io", "volumeAttributes": attributes}}
        volumes[f"gcs-{number}"] = (path, source)
    paths = [path for path, _ in volumes.values()]
    if repeated := {path for path in paths if paths.count(path) > 1}:
        raise ValueError(f"--claim and --bucket: several are mounted at {', '.join(sorted(repeated))}")
    container = container | {"env": env, "resources": {"requests": requests, "limits": limits}}
    container["resources"] = {name: amounts for name, amounts in container["resources"].items() if amounts}
    container["volumeMounts"] = [{"name": name, "mountPath": path} for name, (path, _) in volumes.items()]
    spec = {"nodeSelector": nodes, "serviceAccountName": args.service_account, "containers": [container]}
    spec["volumes"] = [{"name": name, **source} for name, (_, source) in volumes.items()]
    # GKE's webhook adds the sidecar that mounts buckets to pods with this annotation.
    metadata = {"metadata": {"annotations": {"gke-gcsfuse/volumes": "true"}}} if args.bucket else {}
    return {**metadata, "spec": {name: value for name, value in spec.items() if value}}


def _metadata(args: argparse.Namespace) -> dict:
    namespace = {"namespace": args.namespace} if args.namespace else {}
    return {"name": args.name, **namespace, "labels": {"app.kubernetes.io/name": args.name}}


def _toleration(key: str, value: str) -> dict:
    return {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}


def _check_workdir(arguments: Sequence[str], mounts: Sequence[str]):
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    reader.add_argument("--workdir")
    workdir = reader.parse_known_args(arguments)[0].workdir
    if not workdir:
        raise ValueError("the arguments of launch.py follow --, with --workdir")
    if "://" in workdir:
        raise ValueError(f"--workdir {workdir} is a URL: mount the bucket with --bucket BUCKET:PATH, and give its path")
    if not any(PurePosixPath(workdir).is_relative_to(mount) for mount in mounts):
        raise ValueError(
            f"--workdir {workdir} is lost with its pod: it should lie under a --claim NAME:PATH or --bucket BUCKET:PATH"
            + (f" ({', '.join(mounts)})" if mounts else "")
        )


def _matching(pattern: str, expected: str, convert: Callable[..., Any] = str) -> Callable[[str], Any]:
    """Returns the type of an argument: text that matches a pattern, converted from its groups, if it has any."""

    def parse(text: str):
        match = re.fullmatch(pattern, text, re.ASCII)
        if match is None:
            raise argparse.ArgumentTypeError(f"{text!r}: expected {expected}")
        return convert(*(match.groups() or [text]))

    return parse


def _mount(name: Callable[[str], str], expected: str) -> Callable[[str], tuple[str, str]]:
    return _matching(r"(.+):(/[^:]+)", f"{expected}:/PATH", lambda source, path: (name(source), path))


def _topology(text: str) -> Topology:
    try:
        return Topology.parse(text)
    except TopologyError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _secret_variable(name: str, secret: str, key: str) -> dict:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": _object_name(secret), "key": key}}}


# A pod's hostname is NAME-hosts-SLICE-HOST, of 63 characters at most.
_name = _matching(r"[a-z](?:[-a-z0-9]{0,46}[a-z0-9])?", "up to 48 lower-case letters, digits and hyphens")
_object_name = _matching(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?", "lower-case letters, digits, hyphens and dots")
_image = _matching(
    r"[^\s@:]+(?::\d+/[^\s@:]+)?(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?", "REPOSITORY[:TAG][@DIGEST]"
)
_count = _matching(r"[1-9]\d{0,6}", "a whole number, 1 or more", int)
_bucket_name = _matching(r"[a-z0-9][-_.a-z0-9]{1,220}[a-z0-9]", "the name of a bucket, without gs://")
_claim, _bucket = _mount(_name, "NAME"), _mount(_bucket_name, "BUCKET")
_VARIABLE = r"([A-Za-z_]\w*)"
_env = _matching(rf"{_VARIABLE}=((?s:.*))", "NAME=VALUE", lambda name, value: {"name": name, "value": value})
_secret_env = _matching(rf"{_VARIABLE}=([^:=\s]+):([-.\w]+)", "NAME=SECRET:KEY", _secret_variable)
_LABEL = r"[A-Za-z0-9](?:[-.\w]{0,61}[A-Za-z0-9])?"
_label = _matching(
    rf"((?:[a-z0-9][-.a-z0-9]{{0,252}}/)?{_LABEL})=((?:{_LABEL})?)", "a node label KEY=VALUE", lambda *label: label
)


if __name__ == "__main__":
    sys.exit(main())
