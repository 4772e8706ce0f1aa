"""launch/gke/make.py: its manifests are valid for Kubernetes and JobSet and ask for the machines that were named."""

import ast
import copy
import importlib.util
import itertools
import json
import re
import sys
import tomllib
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("make", ROOT / "launch/gke/make.py")
make = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make)

JOBSET = json.loads((Path(__file__).parent / "jobset.schema.json").read_text())
KUBERNETES = "1.34"
COMMON = ["--name", "run1", "--image", "europe-docker.pkg.dev/p/r/capjax:1.0", "--claim", "runs:/runs"]
JOB = ["--", "--config", "configs/pod_1b.py", "--workdir", "/runs/run1"]


@pytest.fixture
def manifests(capsys):
    """Arguments -> the manifests that are printed."""

    def run(*argv) -> list[dict]:
        assert make.main(list(argv)) == 0
        return list(yaml.safe_load_all(capsys.readouterr().out))

    return run


@pytest.fixture
def jobset(manifests):
    def run(*argv) -> dict:
        (manifest,) = manifests("train", *COMMON, *argv, *JOB)
        check_jobset(manifest)
        return manifest

    return run


def check_jobset(manifest: dict):
    """Raises ValidationError unless it is a valid JobSet, and its child jobs are valid for Kubernetes."""
    jsonschema.validate(manifest, JOBSET)
    for replicated in manifest["spec"]["replicatedJobs"]:
        name = f"{manifest['metadata']['name']}-{replicated['name']}-0"
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, **replicated["template"]}
        kubernetes_validate.validate(job, KUBERNETES, strict=True)
    # The validator knows no JobSet: its metadata are checked as those of another kind.
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": manifest["metadata"]}
    kubernetes_validate.validate(other, KUBERNETES, strict=True)


def template_of(manifest: dict) -> dict:
    return manifest["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]


def pod_of(manifest: dict) -> dict:
    return template_of(manifest)["spec"]


@pytest.mark.parametrize(
    ("topology", "accelerator", "shape", "slices", "hosts", "chips"),
    [
        ("v5e:1x1", "tpu-v5-lite-podslice", "1x1", 1, 1, 1),
        ("v5e:2x4", "tpu-v5-lite-podslice", "2x4", 1, 1, 8),
        ("v5e:4x4", "tpu-v5-lite-podslice", "4x4", 1, 4, 4),
        ("4xv5e:16x16", "tpu-v5-lite-podslice", "16x16", 4, 64, 4),
        ("v5p:4x4x4", "tpu-v5p-slice", "4x4x4", 1, 16, 4),
        ("v6e:16x16", "tpu-v6e-slice", "16x16", 1, 64, 4),
    ],
)
def test_a_slice_becomes_a_pod_on_each_of_its_hosts(jobset, topology, accelerator, shape, slices, hosts, chips):
    manifest = jobset("--topology", topology)
    (replicated,) = manifest["spec"]["replicatedJobs"]
    job, pod = replicated["template"]["spec"], pod_of(manifest)
    assert (replicated["replicas"], job["parallelism"], job["completions"]) == (slices, hosts, hosts)
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": accelerator,
        "cloud.google.com/gke-tpu-topology": shape,
    }
    assert pod["containers"][0]["resources"] == {"limits": {"google.com/tpu": chips}}
    assert pod["containers"][0]["args"] == JOB[1:]


def test_gpu_hosts_rendezvous_at_the_first(jobset):
    pod = pod_of(jobset("--nodes", "4", "--gpus", "8", "--gpu-type", "nvidia-h100-80gb"))
    assert pod["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}
    env = {entry["name"]: entry for entry in pod["containers"][0]["env"]}
    assert env["CAPJAX_COORDINATOR"]["value"] == "run1-hosts-0-0.run1:8476"
    assert env["CAPJAX_PROCESSES"]["value"] == "4"
    assert "job-completion-index" in env["CAPJAX_PROCESS"]["valueFrom"]["fieldRef"]["fieldPath"]
    alone = pod_of(jobset("--gpus", "8", "--gpu-type", "nvidia-h100-80gb"))
    assert alone["containers"][0]["env"] == []


def test_user_errors_end_the_job_and_all_else_restarts_it(jobset):
    spec = jobset("--topology", "v5e:4x4", "--max-restarts", "7", "--grace", "300")["spec"]
    job = spec["replicatedJobs"][0]["template"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"] == {"containerName": "train", "operator": "In", "values": [1, 2]}
    assert job["backoffLimit"] == 0  # any other end of a pod fails its job, which restarts the set
    assert spec["failurePolicy"]["maxRestarts"] == 7
    (rule,) = spec["failurePolicy"]["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    assert job["template"]["spec"]["terminationGracePeriodSeconds"] == 300


def test_with_a_queue_a_job_is_suspended_until_kueue_admits_it(jobset):
    manifest = jobset("--topology", "v5e:4x4", "--queue", "tpus", "--namespace", "team", "--spot")
    assert manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "tpus"
    assert manifest["spec"]["suspend"] is True
    assert manifest["metadata"]["namespace"] == "team"
    assert pod_of(manifest)["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
    assert jobset("--topology", "v5e:4x4")["spec"]["suspend"] is False


OPTIONS = [
    "--env", "HF_HOME=/runs/a=b", "--env", "EMPTY=", "--secret-env", "WANDB_API_KEY=wandb:key",
    "--service-account", "trainer", "--node-selector", "team/pool=vision", "--cpu", "16", "--memory", "64",
    "--bucket", "my-bucket:/data", "--bucket", "my.other:/more",
]  # fmt: skip


def check_options(template: dict):
    spec = template["spec"]
    (container,) = spec["containers"]
    assert container["env"] == [
        {"name": "HF_HOME", "value": "/runs/a=b"},
        {"name": "EMPTY", "value": ""},
        {"name": "WANDB_API_KEY", "valueFrom": {"secretKeyRef": {"name": "wandb", "key": "key"}}},
    ]
    assert spec["serviceAccountName"] == "trainer"
    assert spec["nodeSelector"]["team/pool"] == "vision"
    assert container["resources"]["requests"] == {"cpu": "16", "memory": "64Gi"}
    assert container["resources"]["limits"]["memory"] == "64Gi"
    # GCS FUSE: cloud.google.com/kubernetes-engine/docs/how-to/cloud-storage-fuse-csi-driver-ephemeral
    assert template["metadata"]["annotations"] == {"gke-gcsfuse/volumes": "true"}
    paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    buckets = {volume["csi"]["volumeAttributes"]["bucketName"]: volume for volume in spec["volumes"] if "csi" in volume}
    assert {bucket: paths[volume["name"]] for bucket, volume in buckets.items()} == {
        "my-bucket": "/data",
        "my.other": "/more",
    }
    assert {volume["csi"]["driver"] for volume in buckets.values()} == {"gcsfuse.csi.storage.gke.io"}


@pytest.mark.parametrize("machines", [["--topology", "v5e:4x4"], ["--gpus", "8", "--gpu-type", "nvidia-l4"]])
def test_training_takes_variables_secrets_an_account_labels_requests_and_buckets(jobset, machines):
    check_options(template_of(jobset(*machines, *OPTIONS)))


def test_serving_takes_the_same_options(manifests):
    deployment, _ = manifests("serve", "--name", "captions", "--image", "r/captions:3", *OPTIONS)
    kubernetes_validate.validate(deployment, KUBERNETES, strict=True)
    check_options(deployment["spec"]["template"])
    assert deployment["spec"]["template"]["metadata"]["labels"] == deployment["spec"]["selector"]["matchLabels"]


SERVER = ["server", "--name", "captions", "--image", "r/server:3"]
ARGUMENTS = ["--", "--workdir", "/models/mine"]


@pytest.fixture
def server(manifests):
    """Options -> the valid manifests of a server by (kind, name)."""

    def run(*options: str, arguments=ARGUMENTS) -> dict[tuple[str, str], dict]:
        printed = manifests(*SERVER, *options, *arguments)
        for manifest in printed:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in printed}

    return run


def test_a_server_can_write_nothing_but_its_volumes_and_has_no_rights(server):
    pod = server("--claim", "runs:/models")["Deployment", "captions"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] and container["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp", "/cache", "/models"}
    assert pod["automountServiceAccountToken"] is False


def test_a_server_drains_before_it_is_killed(server):
    pod = server()["Deployment", "captions"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    drain = re.search(
        r'"--drain-seconds",\s*type=int,\s*default=(\d+)', (ROOT / "capjax/commands/serve.py").read_text()
    )
    seconds = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > seconds + int(drain[1])


def test_the_arguments_of_a_server_are_those_that_capjax_serve_takes(server):
    from capjax.commands import serve

    options = ("--api-keys", "keys", "--redis")
    (container,) = server(*options)["Deployment", "captions"]["spec"]["template"]["spec"]["containers"]
    args = serve._parser().parse_args(container["args"])
    assert args.workdir == ["/models/mine"] and args.jobs == "redis://captions-redis:6379/0"
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(args.api_keys) == mounts["api-keys"] + "/keys"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert args.metrics_port == ports["metrics"]
    assert f'"--port", "{ports["http"]}"' in (ROOT / "launch/docker/server.Dockerfile").read_text()
    (container,) = server(arguments=[])["Deployment", "captions"]["spec"]["template"]["spec"]["containers"]
    assert serve._parser().parse_args(container["args"]).workdir == ["captions=/model"]


def test_pods_are_added_when_photos_wait(server):
    spec = server("--min-replicas", "3", "--max-replicas", "7", "--queue-length", "20")[
        "HorizontalPodAutoscaler", "captions"
    ]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 7)
    (metric,) = spec["metrics"]
    assert metric["pods"]["target"]["averageValue"] == "20"
    assert metric["pods"]["metric"]["name"] in (ROOT / "capjax/serve/app.py").read_text()


def test_only_pods_of_its_namespace_reach_a_server_and_only_the_server_reaches_its_redis(server):
    manifests = server("--redis")
    ingress = manifests["NetworkPolicy", "captions"]["spec"]["ingress"]
    assert ingress[0] == {"from": [{"podSelector": {}}], "ports": [{"port": "http"}]}
    (rule,) = manifests["NetworkPolicy", "captions-redis"]["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "captions"}}}]
    redis = manifests["StatefulSet", "captions-redis"]["spec"]["template"]["spec"]["containers"][0]
    assert redis["args"][:2] == ["--appendonly", "yes"]
    other = server("--from-namespace", "web")["NetworkPolicy", "captions"]["spec"]["ingress"][0]["from"]
    assert other == [{"podSelector": {}, "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "web"}}}]


def test_a_server_takes_the_common_options(server):
    template = server(*OPTIONS)["Deployment", "captions"]["spec"]["template"]
    template["metadata"]["annotations"] = {
        name: value for name, value in template["metadata"]["annotations"].items() if "prometheus" not in name
    }
    check_options(template)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-replicas", "5", "--max-replicas", "2"], "--min-replicas 5 is more than --max-replicas 2"),
        (["--", "--port=1"], "--port is set by make.py itself"),
    ],
)
def test_contradictions_of_a_server_are_named(capsys, options, message):
    with pytest.raises(SystemExit) as error:
        make.main([*SERVER, *options])
    assert error.value.code == 2 and message in capsys.readouterr().err


def test_a_workdir_may_lie_in_a_bucket(manifests):
    argv = ["train", *COMMON[:4], "--bucket", "my-bucket:/runs", "--topology", "v5e:4x4", *JOB]
    (manifest,) = manifests(*argv)
    check_jobset(manifest)


def test_without_options_the_pods_have_none_of_them(jobset):
    template = template_of(jobset("--topology", "v5e:4x4"))
    assert "metadata" not in template and "serviceAccountName" not in template["spec"]


def test_the_script_declares_what_it_imports():
    text = (ROOT / "launch/gke/make.py").read_text()
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    metadata = tomllib.loads("\n".join(line[2:] for line in lines if "///" not in line))
    declared = {re.match(r"[\w-]+", name)[0].replace("pyyaml", "yaml") for name in metadata["dependencies"]}
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {name.split(".")[0] for node in nodes for name in ([alias.name for alias in node.names] if
             isinstance(node, ast.Import) else [node.module])}  # fmt: skip
    assert names - sys.stdlib_module_names == declared


def test_the_validators_notice_mistakes(jobset):
    manifest = jobset("--topology", "v5e:4x4")
    wrong = copy.deepcopy(manifest)
    wrong["spec"]["failurePolicy"]["rules"][0]["action"] = "Fail"
    with pytest.raises(jsonschema.ValidationError):
        check_jobset(wrong)
    wrong = copy.deepcopy(manifest)
    pod_of(wrong)["containers"][0]["argz"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        check_jobset(wrong)


def test_serving_is_a_deployment_behind_a_service(manifests):
    deployment, service = manifests("serve", "--name", "captions", "--image", "r/captions:3", "--replicas", "3")
    for manifest in (deployment, service):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert deployment["spec"]["replicas"] == 3
    assert container["readinessProbe"]["httpGet"] == {"path": "/v1/models/captions", "port": "rest"}
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]} == ports == {"grpc": 8500, "rest": 8501}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--topology", "v5e:3x3", *JOB], "slices of v5e are 1x1, 2x2"),
        ([*JOB], "give either --topology (TPU) or --gpus and --gpu-type"),
        (["--topology", "v5e:4x4", "--gpus", "8", *JOB], "give either --topology"),
        (["--gpus", "8", *JOB], "--gpu-type is missing"),
        (["--topology", "v5e:4x4", "--nodes", "2", *JOB], "--nodes and --gpu-type go with --gpus"),
        (["--topology", "v5e:4x4", "--name", "Run_1", *JOB], "'Run_1': expected up to 48 lower-case letters"),
        (["--topology", "v5e:4x4", "--image", "a b", *JOB], "'a b': expected REPOSITORY[:TAG][@DIGEST]"),
        (["--topology", "v5e:4x4", "--claim", "runs", *JOB], "'runs': expected NAME:/PATH"),
        (["--topology", "v5e:4x4", "--max-restarts", "0", *JOB], "'0': expected a whole number, 1 or more"),
        (["--topology", "v5e:4x4"], "the arguments of launch.py follow --, with --workdir"),
        (["--topology", "v5e:4x4", "--", "--workdir", "gs://b/x"], "gs://b/x is a URL: mount the bucket with --bucket"),
        (["--topology", "v5e:4x4", "--env", "1A=x", *JOB], "'1A=x': expected NAME=VALUE"),
        (["--topology", "v5e:4x4", "--secret-env", "A=secret", *JOB], "'A=secret': expected NAME=SECRET:KEY"),
        (["--topology", "v5e:4x4", "--env", "A=1", "--secret-env", "A=s:k", *JOB], "variable A is set twice"),
        (
            ["--gpus", "8", "--gpu-type", "l4", "--nodes", "2", "--env", "CAPJAX_PROCESS=1", *JOB],
            "variable CAPJAX_PROCESS is set twice, or by make.py itself",
        ),
        (["--topology", "v5e:4x4", "--node-selector", "pool", *JOB], "'pool': expected a node label KEY=VALUE"),
        (
            ["--topology", "v5e:4x4", "--node-selector", "cloud.google.com/gke-tpu-topology=2x2", *JOB],
            "cloud.google.com/gke-tpu-topology is '4x4' already",
        ),
        (["--topology", "v5e:4x4", "--service-account", "A_b", *JOB], "'A_b': expected lower-case letters"),
        (["--topology", "v5e:4x4", "--bucket", "gs://b:/data", *JOB], "'gs://b': expected the name of a bucket"),
        (["--topology", "v5e:4x4", "--bucket", "data-1", *JOB], "'data-1': expected BUCKET:/PATH"),
        (["--topology", "v5e:4x4", "--bucket", "data-1:/runs", *JOB], "several are mounted at /runs"),
        (["--topology", "v5e:4x4", "--memory", "8Gi", *JOB], "'8Gi': expected a whole number, 1 or more"),
        (["--topology", "v5e:4x4", "--", "--workdir=/tmp/x"], "--workdir /tmp/x is lost with its pod"),
    ],
)
def test_wrong_arguments_are_named(capsys, argv, message):
    with pytest.raises(SystemExit) as stop:
        make.main(["train", *COMMON, *argv])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
