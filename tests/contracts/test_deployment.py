"""The files for deployments agree with the server: manifests for Kubernetes, the image, and HAProxy's configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from stepwell_ingest.access.rights import Right
from stepwell_ingest.api.routes import routes
from stepwell_ingest.config import Reads, Timeouts

REPOSITORY = Path(__file__).parents[2]
KUBERNETES = REPOSITORY / "deploy" / "kubernetes"
#: The newest version of Kubernetes that the manifests are for.
VERSION = "1.32"
NAME = {"app.kubernetes.io/name": "stepwell"}
#: Seconds in which processes end after a drain.
MARGIN_S = 10


def documents(file: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file."""
    return list(yaml.safe_load_all(file.read_text()))


def manifest(name: str) -> dict[str, Any]:
    """The only document of a file below `deploy/kubernetes`."""
    (found,) = documents(KUBERNETES / name)
    return found


@pytest.fixture
def pod() -> dict[str, Any]:
    """The pod of a server."""
    found: dict[str, Any] = manifest("base/servers.yaml")["spec"]["template"]["spec"]
    return found


@pytest.fixture
def server(pod: dict[str, Any]) -> dict[str, Any]:
    """The container of a server."""
    (found,) = pod["containers"]
    return dict(found)


def with_selectors(document: dict[str, Any]) -> dict[str, Any]:
    """A document with the labels that the kustomization adds to it."""
    if document["kind"] == "Deployment":
        document["spec"]["selector"] = {"matchLabels": NAME}
        document["spec"]["template"]["metadata"] = {"labels": NAME}
    elif document["kind"] == "Service":
        document["spec"]["selector"] = NAME
    return document


FILES = sorted(path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml")
OURS = [path for path in FILES if path.name != "postgres.yaml"]  # CloudNativePG's has a schema of its own


@pytest.mark.parametrize("file", OURS, ids=lambda path: path.name)
def test_manifest_is_valid(file: Path) -> None:
    for document in documents(file):
        kubernetes_validate.validate(with_selectors(document), VERSION, strict=True)


def test_invalid_manifest_is_refused() -> None:
    document = with_selectors(manifest("base/servers.yaml"))
    document["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.mark.parametrize("place", ["base", "autoscaling", "cloudnativepg"])
def test_kustomization_lists_its_files(place: str) -> None:
    listed = manifest(f"{place}/kustomization.yaml")["resources"]
    files = {path.name for path in FILES if path.parent.name == place}
    assert set(listed) == files | (set() if place == "base" else {"../base"})


def test_grace_period_covers_the_drain(pod: dict[str, Any], server: dict[str, Any]) -> None:
    name, seconds = server["lifecycle"]["preStop"]["exec"]["command"]
    assert name == "sleep"
    assert pod["terminationGracePeriodSeconds"] >= int(seconds) + Timeouts().drain_s + MARGIN_S


def test_compose_grace_period_covers_the_drain() -> None:
    (compose,) = documents(REPOSITORY / "compose.yaml")
    for name in ("stepwell-1", "stepwell-2"):
        assert int(compose["services"][name]["stop_grace_period"].removesuffix("s")) >= Timeouts().drain_s + MARGIN_S


def test_probes_need_no_key(server: dict[str, Any]) -> None:
    public = {route.path for route in routes(Reads()) if route.right is Right.PUBLIC}
    probes = {kind: server[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {probe["path"] for probe in probes.values()} <= public
    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    assert "option httpchk GET /readyz" in (REPOSITORY / "deploy" / "haproxy.cfg").read_text()


def test_updates_and_evictions_keep_servers() -> None:
    assert manifest("base/servers.yaml")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    disruption = manifest("base/disruption.yaml")["spec"]
    assert disruption == {"maxUnavailable": 1, "selector": {"matchLabels": NAME}}


def test_server_is_restricted(pod: dict[str, Any], server: dict[str, Any]) -> None:
    """The fields that the Pod Security Standard "restricted" requires, and a root that cannot be written."""
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert server["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    (user,) = re.findall(r"useradd .*--uid (\d+) ", (REPOSITORY / "Dockerfile").read_text())
    assert pod["securityContext"]["runAsUser"] == int(user)


def test_nothing_listens_to_the_world_without_keys(server: dict[str, Any]) -> None:
    (compose,) = documents(REPOSITORY / "compose.yaml")
    commands = [
        " ".join(server["args"]),
        *(compose["services"][name]["command"] for name in ("stepwell-1", "stepwell-2")),
        (REPOSITORY / "Dockerfile").read_text().rpartition("CMD")[2],
    ]
    for command in commands:
        assert "--require-keys" in command
        assert "--without-keys" not in command
