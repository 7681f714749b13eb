"""Every file of deploy/ parses, fits the others, and opens nothing to the network."""

import configparser
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import dask
import pytest
import yaml

from equilens.tasks.engine import luigi

DEPLOY = Path(__file__).parents[2] / "deploy"
OPEN_ADDRESSES = ("0.0.0.0", "::", "*")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def documents(name):
    return [doc for doc in yaml.safe_load_all((DEPLOY / name).read_text()) if doc]


def unit(name):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(DEPLOY / "systemd" / name)
    return parser


def test_the_readme_names_every_file():
    text = (DEPLOY / "README.md").read_text()
    files = {file.name for file in DEPLOY.rglob("*") if file.is_file()} - {"README.md"}
    assert sorted(name for name in files if name not in text) == []


@pytest.mark.parametrize("file", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda f: f.name)
def test_yaml_holds_documents_that_are_mappings(file):
    assert all(isinstance(doc, dict) for doc in yaml.safe_load_all(file.read_text()))


def test_dask_knows_every_key(tmp_path):
    def check(given, known, where):
        for key, value in given.items():
            # names of environment variables are no settings
            if where.endswith("pre-spawn-environ"):
                assert key.startswith("MALLOC_"), f"{key} in {where}"
                continue
            assert key in known, f"{where}.{key} is no setting of Dask"
            if isinstance(value, dict) and isinstance(known[key], dict):
                check(value, known[key], f"{where}.{key}")

    import distributed

    defaults = yaml.safe_load((Path(distributed.__file__).parent / "distributed.yaml").read_text())
    (given,) = documents("dask.yaml")
    check(given, defaults, "dask.yaml")
    for name in ("connect", "tcp"):
        value = given["distributed"]["comm"]["timeouts"][name]
        assert dask.utils.parse_timedelta(value) > 10


@pytest.mark.parametrize("name", SERVICES)
def test_published_ports_are_on_the_loopback_interface(name):
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


@pytest.mark.parametrize("name", SERVICES)
def test_services_gain_no_privileges_and_mount_known_volumes(name):
    service = SERVICES[name]
    assert service.get("security_opt") == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert service.get("network_mode") != "host"
    for volume in service.get("volumes", []):
        source = volume.rsplit(":ro", 1)[0].rsplit(":/", 1)[0]
        assert source in COMPOSE["volumes"] or source.startswith(("./", "${DATA"))


def test_services_are_built_from_files_that_are_there():
    for service in SERVICES.values():
        if "build" in service:
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()
        assert not service["image"].endswith(":latest")
        for other in service.get("depends_on", {}):
            assert other in SERVICES


def test_the_gpu_override_changes_a_service_that_is_there():
    (override,) = documents("compose.gpu.yaml")
    assert override["services"].keys() <= SERVICES.keys()
    device = override["services"]["worker"]["deploy"]["resources"]["reservations"]["devices"][0]
    assert device["capabilities"] == ["gpu"]
    assert "GPU=1" in override["services"]["worker"]["entrypoint"]


def test_prometheus_asks_services_that_are_there():
    (config,) = documents("prometheus.yml")
    targets = [
        target
        for job in config["scrape_configs"]
        for static in job["static_configs"]
        for target in static["targets"]
    ]
    assert {target.split(":")[0] for target in targets} <= SERVICES.keys()


@pytest.mark.parametrize("name", ["Dockerfile", "luigid.Dockerfile"])
def test_images_run_as_a_user_and_copy_what_is_there(name):
    text = (DEPLOY / name).read_text().replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    last_stage = lines[max(k for k, words in enumerate(lines) if words[0] == "FROM") :]
    assert [words[1] for words in last_stage if words[0] == "USER"][-1] != "root"
    ignore = (DEPLOY / f"{name}.dockerignore").read_text().split()
    for words in lines:
        if words[0] == "COPY" and not words[1].startswith("--from"):
            for source in words[1:-1]:
                assert (DEPLOY.parent / source).exists(), source
                assert f"!{source}" in ignore, f"{source} is not sent to the build"
        assert words[0] != "ADD"
        if words[0] == "FROM":
            assert re.search(r":\d", words[1]), "an image needs its version"


def test_luigid_gets_no_sqlalchemy_that_it_crashes_with():
    assert '"sqlalchemy<2"' in (DEPLOY / "luigid.Dockerfile").read_text()


def test_luigi_reports_failures_and_keeps_its_history(tmp_path, monkeypatch):
    parser = luigi.configuration.LuigiConfigParser()
    parser.read(DEPLOY / "luigi.cfg")
    codes = {key: int(value) for key, value in parser.items("retcode")}
    assert {
        "task_failed",
        "unhandled_exception",
        "scheduling_error",
        "missing_data",
    } <= codes.keys()
    assert all(codes.values())
    assert parser.getint("scheduler", "retry_count") > 1
    assert parser.get("scheduler", "state_path").startswith("/var/lib/luigi/")
    assert parser.get("task_history", "db_connection").startswith("sqlite:////var/lib/luigi/")
    # these would make every command of ours wait for retries
    assert not parser.has_option("worker", "keep_alive")


def test_a_failed_command_does_not_wait_for_luigis_retries(tmp_path):
    words = ["ingest", str(tmp_path), "--survey", "euclid-mer", "--out", "x.zarr"]
    done = subprocess.run(
        [sys.executable, "-m", "equilens.tasks.cli", *words],
        env={**os.environ, "LUIGI_CONFIG_PATH": str(DEPLOY / "luigi.cfg")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("error") == 1


def test_the_kubernetes_manifests_fit_each_other():
    (claim,), (cluster,), (night,) = map(
        documents,
        ("kubernetes/storage.yaml", "kubernetes/dask-cluster.yaml", "kubernetes/night.yaml"),
    )
    assert (claim["apiVersion"], claim["kind"]) == ("v1", "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert (cluster["apiVersion"], cluster["kind"]) == ("kubernetes.dask.org/v1", "DaskCluster")
    assert (night["apiVersion"], night["kind"]) == ("batch/v1", "CronJob")
    pods = {
        "worker": cluster["spec"]["worker"]["spec"],
        "scheduler": cluster["spec"]["scheduler"]["spec"],
        "night": night["spec"]["jobTemplate"]["spec"]["template"]["spec"],
    }
    for name, pod in pods.items():
        (container,) = pod["containers"]
        assert container["name"] == name
        assert pod["securityContext"]["runAsNonRoot"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert {"requests", "limits"} <= container["resources"].keys()
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys()
        claimed = volumes["data"]["persistentVolumeClaim"]["claimName"]
        assert claimed == claim["metadata"]["name"]


def test_the_dask_service_selects_the_scheduler_and_names_its_ports():
    (cluster,) = documents("kubernetes/dask-cluster.yaml")
    scheduler = cluster["spec"]["scheduler"]
    service = scheduler["service"]
    assert service["type"] == "ClusterIP"
    assert service["selector"] == {
        "dask.org/cluster-name": cluster["metadata"]["name"],
        "dask.org/component": "scheduler",
    }
    ports = {
        port["name"]: port["containerPort"] for port in scheduler["spec"]["containers"][0]["ports"]
    }
    assert {port["targetPort"]: port["port"] for port in service["ports"]} == ports


def test_the_cron_job_runs_one_night_at_a_time_and_tries_again_what_may_work():
    (night,) = documents("kubernetes/night.yaml")
    spec = night["spec"]
    assert len(spec["schedule"].split()) == 5
    assert spec["concurrencyPolicy"] == "Forbid"
    (rule,) = spec["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"]["values"] == [2, 3]
    # what a failure policy needs
    assert spec["jobTemplate"]["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_the_systemd_service_goes_on_after_a_crash_but_not_after_a_verdict():
    service = unit("equilens-night.service")["Service"]
    assert service["Type"] == "oneshot"
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"].split() == ["2", "3"]
    words = shlex.split(service["ExecStart"])
    assert words[:2] == ["/bin/sh", "-c"]
    command = words[2].replace("%%", "%").replace("$$", "$")
    assert command.startswith("exec /opt/equilens/bin/equilens night ")
    shown = subprocess.run(
        ["/bin/sh", "-c", command.replace("exec /opt/equilens/bin/equilens", "echo")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.fullmatch(r"night \d{4}-\d\d-\d\d --config /etc/equilens/survey.toml\n", shown.stdout)


def test_the_timer_makes_up_for_what_it_missed():
    timer = unit("equilens-night.timer")
    assert timer["Timer"]["Persistent"] == "true"
    assert timer["Install"]["WantedBy"] == "timers.target"


def test_services_of_systemd_listen_on_the_loopback_interface():
    words = unit("equilens-luigid.service")["Service"]["ExecStart"].split()
    assert words[words.index("--address") + 1] == "127.0.0.1"


@pytest.mark.parametrize("file", sorted(DEPLOY.glob("slurm/*.sbatch")), ids=lambda f: f.name)
def test_batch_scripts_parse_and_stop_at_the_first_failure(file):
    subprocess.run(["bash", "-n", str(file)], check=True)
    text = file.read_text()
    assert "set -euo pipefail" in text
    assert "#SBATCH --requeue" in text
    assert not any(address in text for address in OPEN_ADDRESSES[:1])


def test_jobqueue_settings_are_those_of_one_worker_a_core():
    (config,) = documents("slurm/jobqueue.yaml")
    slurm = config["jobqueue"]["slurm"]
    assert slurm["cores"] == slurm["processes"] == 1
    assert slurm["scheduler-options"]["dashboard_address"].startswith("127.0.0.1")
