"""launch/gke/make.py: its manifests are what Kubernetes and JobSet take, and ask for the machines that were named."""

import copy
import importlib.util
import json
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
    """Arguments -> what is printed, read as YAML."""

    def run(*argv) -> list[dict]:
        assert make.main(list(argv)) == 0
        return list(yaml.safe_load_all(capsys.readouterr().out))

    return run


@pytest.fixture
def jobset(manifests):
    def run(*argv) -> dict:
        (made,) = manifests("train", *COMMON, *argv, *JOB)
        check_jobset(made)
        return made

    return run


def check_jobset(made: dict):
    """Raises ValidationError unless JobSet takes it, and Kubernetes the Job that each of its replicas becomes."""
    jsonschema.validate(made, JOBSET)
    for replicated in made["spec"]["replicatedJobs"]:
        name = f"{made['metadata']['name']}-{replicated['name']}-0"
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, **replicated["template"]}
        kubernetes_validate.validate(job, KUBERNETES, strict=True)
    # Kubernetes takes the metadata of a JobSet as that of anything.
    thing = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": made["metadata"]}
    kubernetes_validate.validate(thing, KUBERNETES, strict=True)


def pod_of(made: dict) -> dict:
    return made["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]


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
    made = jobset("--topology", topology)
    (replicated,) = made["spec"]["replicatedJobs"]
    job, pod = replicated["template"]["spec"], pod_of(made)
    assert (replicated["replicas"], job["parallelism"], job["completions"]) == (slices, hosts, hosts)
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": accelerator,
        "cloud.google.com/gke-tpu-topology": shape,
    }
    assert pod["containers"][0]["resources"] == {"limits": {"google.com/tpu": chips}}
    assert pod["containers"][0]["args"] == JOB[1:]


def test_gpu_hosts_meet_at_the_first(jobset):
    pod = pod_of(jobset("--nodes", "4", "--gpus", "8", "--gpu-type", "nvidia-h100-80gb"))
    assert pod["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}
    env = {entry["name"]: entry for entry in pod["containers"][0]["env"]}
    assert env["CAPJAX_COORDINATOR"]["value"] == "run1-hosts-0-0.run1:8476"
    assert env["CAPJAX_PROCESSES"]["value"] == "4"
    assert "job-completion-index" in env["CAPJAX_PROCESS"]["valueFrom"]["fieldRef"]["fieldPath"]
    alone = pod_of(jobset("--gpus", "8", "--gpu-type", "nvidia-h100-80gb"))
    assert alone["containers"][0]["env"] == []


def test_errors_to_mend_end_the_job_and_all_else_restarts_it(jobset):
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


def test_with_a_queue_it_waits_for_kueue(jobset):
    made = jobset("--topology", "v5e:4x4", "--queue", "tpus", "--namespace", "team", "--spot")
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "tpus"
    assert made["spec"]["suspend"] is True
    assert made["metadata"]["namespace"] == "team"
    assert pod_of(made)["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
    assert jobset("--topology", "v5e:4x4")["spec"]["suspend"] is False


def test_the_checks_would_notice_a_mistake(jobset):
    made = jobset("--topology", "v5e:4x4")
    wrong = copy.deepcopy(made)
    wrong["spec"]["failurePolicy"]["rules"][0]["action"] = "Fail"
    with pytest.raises(jsonschema.ValidationError):
        check_jobset(wrong)
    wrong = copy.deepcopy(made)
    pod_of(wrong)["containers"][0]["argz"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        check_jobset(wrong)


def test_serving_is_a_deployment_behind_a_service(manifests):
    deployment, service = manifests("serve", "--name", "captions", "--image", "r/captions:3", "--replicas", "3")
    for made in (deployment, service):
        kubernetes_validate.validate(made, KUBERNETES, strict=True)
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
        (["--topology", "v5e:4x4"], "the arguments of launch.py stand behind --, with --workdir"),
        (["--topology", "v5e:4x4", "--", "--workdir=/tmp/x"], "--workdir /tmp/x ends with its pod"),
    ],
)
def test_wrong_arguments_are_named(capsys, argv, message):
    with pytest.raises(SystemExit) as stop:
        make.main(["train", *COMMON, *argv])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
