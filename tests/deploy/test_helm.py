"""The chart: Helm makes objects of it that Kubernetes takes, and that agree with the gateway."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from litestar import Litestar

from gateway.app import create_app
from gateway.cluster.session import CLOSE_SECONDS
from gateway.settings import PREFIX, Settings, fields, read_settings, variable
from gateway.web.server.server import FAREWELL_SECONDS
from tests.deploy.kubernetes import faults
from tests.deploy.rendering import NAME, NAMESPACE, Rendered, rendered
from tests.serving import ROOT
from tests.small_engine import TestEngine, small_catalog

CHART = ROOT / "deploy/helm"
TELEMETRY = ROOT / "gateway/telemetry"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
EXAMPLES = {path.stem: yaml.safe_load(path.read_text()) for path in CHART.glob("examples/*.yaml")}
OFF = ("serviceMonitor", "prometheusRule", "dashboard", "keda", "httpRoute", "inferencePool")
GOOD: dict[str, Any] = {
    **EXAMPLES,
    "defaults": {},
    "everything": {
        **EXAMPLES["wide"],
        "rayCluster": {"enabled": True, "workers": 2, "maxWorkers": 4, "gpu": 0},
        "networkPolicy": {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
        "imagePullSecrets": [{"name": "registry"}],
        "priorityClassName": "drawing",
        "podAnnotations": {"a": "b"},
        "podLabels": {"a": "b"},
        "affinity": {"podAntiAffinity": {}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
        "env": [{"name": "HF_HUB_OFFLINE", "value": "1"}],
        "volumes": [{"name": "cards", "configMap": {"name": "cards"}}],
        "volumeMounts": [{"name": "cards", "mountPath": "/etc/image-gateway/models"}],
        "keda": {"enabled": True, "authentication": "prometheus"},
    },
    "bare": {
        "operatorKey": {"existingSecret": ""},
        "settings": {"no_auth": True, "port": 9000, "max_batch_lines": 1_000_000, "kept_gib": 0.5,
                     "url_allow": ["10.0.0.0/8", "hooks"]},
        "data": {"claim": False},
        "disruptionBudget": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "topologySpread": {"enabled": False},
        "serviceAccount": {"create": False},
        "inferencePool": {"enabled": True},
    },
}  # fmt: skip
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "two without what they share": ({"replicas": 2}, "needs database.existingSecret, store"),
    "scaled without what they share": ({"keda": {"enabled": True}}, "needs database"),
    "nobody let in": ({"operatorKey": {"existingSecret": ""}}, "nobody could be let in"),
    "downloads to nowhere": ({"cache": {"download": ["sdxl"]}}, "needs cache.claim"),
    "a route from nowhere": ({"httpRoute": {"enabled": True}}, "httpRoute needs parents"),
    "a misspelt value": ({"replica": 1}, "replica"),
    "a misspelt part of one": ({"gpu": {"counts": 1}}, "counts"),
    "a word for a number": ({"replicas": "two"}, "replicas"),
    "a budget that holds nodes up": ({"disruptionBudget": {"maxUnavailable": 0}}, "maxUnavailable"),
}


@pytest.fixture(scope="module")
def made() -> dict[str, Rendered]:
    return rendered(CHART, GOOD | {name: values for name, (values, _) in BAD.items()})


@pytest.fixture(params=sorted(GOOD))
def case(request: pytest.FixtureRequest, made: dict[str, Rendered]) -> Rendered:
    return made[request.param]


def pods(case: Rendered) -> Iterator[dict[str, Any]]:
    """The templates of all pods."""
    for one in case.of("Deployment") + case.of("Job"):
        yield one["spec"]["template"]
    for one in case.of("RayCluster"):
        yield one["spec"]["headGroupSpec"]["template"]
        for group in one["spec"]["workerGroupSpecs"]:
            yield group["template"]


def gateway_of(case: Rendered) -> dict[str, Any]:
    """The container that answers."""
    (container,) = case.one("Deployment")["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def containers_of(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def test_helm_finds_no_lint(case: Rendered) -> None:
    assert case.fault == ""
    assert case.lint == []


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_work_is_refused_by_its_name(made: dict[str, Rendered], name: str) -> None:
    assert BAD[name][1] in made[name].fault


def test_kubernetes_takes_every_object(case: Rendered) -> None:
    assert [fault for one in case.objects for fault in faults(one)] == []


def test_what_kubernetes_would_not_take_is_noticed(made: dict[str, Rendered]) -> None:
    """The checks themselves: a field that is none, in each kind of object."""
    for one in made["wide"].objects + made["ray"].objects:
        inside = "spec" if "spec" in one else "metadata"
        assert list(faults({**one, inside: {**one[inside], "wrongs": 1}})), one["kind"]
    ray = made["ray"].of("RayCluster")[0]
    ray["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["imagee"] = "x"
    assert any("imagee" in fault for fault in faults(ray))


def test_names_are_given_once_and_everything_is_the_releases(case: Rendered) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in case.objects]
    assert len(set(names)) == len(names)
    assert all(name.startswith(NAME) for _, name in names)


def test_everything_that_needs_an_operator_is_off_until_asked_for(
    made: dict[str, Rendered]
) -> None:
    assert not any(VALUES[name]["enabled"] for name in (*OFF, "rayCluster"))
    kinds = {one["kind"] for one in made["defaults"].objects}
    assert kinds == {
        "Deployment", "Service", "ServiceAccount", "PersistentVolumeClaim", "PodDisruptionBudget",
        "NetworkPolicy",
    }  # fmt: skip
    more = {one["kind"] for one in made["everything"].objects} - kinds
    assert more == {
        "ServiceMonitor", "PrometheusRule", "ConfigMap", "ScaledObject", "HTTPRoute",
        "InferencePool", "RayCluster", "Job",
    }  # fmt: skip


def test_probes_ask_what_there_is_where_it_listens(case: Rendered, tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path), TestEngine(), small_catalog())
    assert isinstance(app, Litestar)
    routes = {route.path for route in app.routes}
    container = gateway_of(case)
    (port,) = container["ports"]
    assert port["containerPort"] == read_settings({}, environment_of(container)).port
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[kind]["httpGet"]
        assert asked["path"] in routes
        assert asked["port"] == port["name"]
    for monitor in case.of("ServiceMonitor"):
        assert {point["path"] for point in monitor["spec"]["endpoints"]} <= routes


def test_the_image_listens_where_the_chart_says(made: dict[str, Rendered]) -> None:
    (exposed,) = re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.M)
    assert gateway_of(made["defaults"])["ports"][0]["containerPort"] == int(exposed)


def environment_of(container: dict[str, Any]) -> dict[str, str]:
    """What is written in it; a secret's value is told by its name and key."""
    return {
        one["name"]: "{name}'s {key}".format(**one["valueFrom"]["secretKeyRef"])
        if "valueFrom" in one
        else one["value"]
        for one in container.get("env", ())
    }


def test_every_variable_is_a_setting(case: Rendered) -> None:
    known = {variable(field.name) for field in fields()}
    named = {
        name
        for pod in pods(case)
        for container in containers_of(pod)
        for name in environment_of(container)
        if name.startswith(PREFIX)
    }
    assert named - known == set()
    assert variable("preload") in named or "GATEWAY_NO_AUTH" in named


def test_settings_arrive_as_they_were_written(made: dict[str, Rendered]) -> None:
    settings = read_settings({}, environment_of(gateway_of(made["bare"])))
    assert settings.max_batch_lines == 1_000_000
    assert settings.kept_gib == 0.5
    assert settings.url_allow == ("10.0.0.0/8", "hooks")
    assert settings.no_auth
    settings = read_settings({}, environment_of(gateway_of(made["wide"])))
    assert settings.endpoints == ("sdxl-turbo",)
    assert settings.store == EXAMPLES["wide"]["store"]
    assert settings.database == "image-gateway's database"
    assert settings.operator_key == "image-gateway's operator-key"


def test_secrets_go_only_where_they_are_needed(case: Rendered) -> None:
    secret = {"GATEWAY_OPERATOR_KEY", "GATEWAY_DATABASE"}
    for pod in pods(case):
        for container in containers_of(pod):
            if container["name"] != "gateway":
                assert not secret & environment_of(container).keys()


def test_whoever_stops_it_waits_longer_than_it_needs(case: Rendered) -> None:
    settings = read_settings({}, environment_of(gateway_of(case)))
    needed = settings.drain_seconds + settings.grace_seconds + FAREWELL_SECONDS + CLOSE_SECONDS
    spec = case.one("Deployment")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] > needed


def test_loads_have_the_time_they_are_given(made: dict[str, Rendered]) -> None:
    probe = gateway_of(made["defaults"])["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == VALUES["probes"]["loadSeconds"]


def test_pods_run_as_the_images_user_without_rights_on_a_root_that_is_read_only(
    case: Rendered,
) -> None:
    (user,) = re.findall(r"^USER (\d+)$", DOCKERFILE, re.M)
    for pod in pods(case):
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"]
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for name in ("runAsUser", "runAsGroup", "fsGroup"):
            assert security[name] == int(user)
        assert pod["spec"]["automountServiceAccountToken"] is False
        for container in containers_of(pod):
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"]
            assert not rights["allowPrivilegeEscalation"]
            assert rights["capabilities"] == {"drop": ["ALL"]}


def test_what_the_image_writes_to_is_mounted(case: Rendered) -> None:
    written = dict(re.findall(r"(GATEWAY_DATA|HF_HOME|home-dir)[= ](\S+)", DOCKERFILE))
    assert len(written) == 3
    for pod in pods(case):
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        for container in containers_of(pod):
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert set(mounts.values()) <= volumes.keys()
            for place in ("/tmp", *written.values()):
                assert any(place == path or place.startswith(f"{path}/") for path in mounts)


def test_claims_are_there_or_the_operators(case: Rendered) -> None:
    claims = {claim["metadata"]["name"] for claim in case.of("PersistentVolumeClaim")}
    mounted = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in pods(case)
        for volume in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert mounted - {"weights"} == claims


def test_selectors_find_the_gateways_pods_and_no_others(case: Rendered) -> None:
    deployment = case.one("Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    selectors = [deployment["selector"]["matchLabels"], case.one("Service")["spec"]["selector"]]
    selectors += [one["spec"]["selector"]["matchLabels"] for one in case.of("PodDisruptionBudget")]
    selectors += [one["spec"]["selector"]["matchLabels"] for one in case.of("InferencePool")]
    selectors += [
        one["spec"]["podSelector"]["matchLabels"]
        for one in case.of("NetworkPolicy")
        if one["metadata"]["name"] == NAME
    ]
    selectors += [
        one["labelSelector"]["matchLabels"]
        for one in deployment["template"]["spec"].get("topologySpreadConstraints", ())
    ]
    others = [pod["metadata"]["labels"] for pod in pods(case)][1:]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not any(selector.items() <= other.items() for other in others)


def test_a_monitor_finds_the_service_with_the_operators_key(made: dict[str, Rendered]) -> None:
    case = made["wide"]
    service, monitor = case.one("Service"), case.one("ServiceMonitor")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["authorization"]["credentials"] == {
        "name": VALUES["operatorKey"]["existingSecret"], "key": VALUES["operatorKey"]["key"]
    }  # fmt: skip
    (relabeling,) = endpoint["relabelings"]
    assert relabeling == {"targetLabel": "job", "replacement": "image-gateway"}


def test_alerts_and_the_dashboard_are_the_files_beside_the_chart(
    made: dict[str, Rendered],
) -> None:
    case = made["wide"]
    alerts = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())
    assert case.one("PrometheusRule")["spec"] == alerts
    (text,) = case.one("ConfigMap", f"{NAME}-dashboard")["data"].values()
    assert json.loads(text) == json.loads((ROOT / "deploy/grafana/image-gateway.json").read_text())


def test_replicas_follow_the_seconds_of_queued_work(made: dict[str, Rendered]) -> None:
    case = made["wide"]
    deployment, scaled = case.one("Deployment"), case.one("ScaledObject")["spec"]
    assert scaled["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    assert made["defaults"].one("Deployment")["spec"]["replicas"] == 1
    (trigger,) = scaled["triggers"]
    query = trigger["metadata"]["query"]
    (name,) = re.findall(r"gateway_\w+", query)
    assert any(f'"{name}"' in path.read_text() for path in TELEMETRY.glob("*.py"))
    assert f'namespace="{NAMESPACE}"' in query
    assert f'service="{NAME}"' in query


def test_routes_lead_to_the_service_or_the_pool(made: dict[str, Rendered]) -> None:
    (rule,) = made["wide"].one("HTTPRoute")["spec"]["rules"]
    assert [one["kind"] for one in rule["backendRefs"]] == ["InferencePool"]
    assert rule["backendRefs"][0]["name"] == made["wide"].one("InferencePool")["metadata"]["name"]
    for name in ("wide", "bare"):
        (port,) = made[name].one("InferencePool")["spec"]["targetPorts"]
        assert port["number"] == gateway_of(made[name])["ports"][0]["containerPort"]


def test_one_at_a_time_where_a_claim_holds_but_one(made: dict[str, Rendered]) -> None:
    assert made["defaults"].one("Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    rolling = made["wide"].one("Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 1, "maxUnavailable": 0}


def test_ray_is_of_the_version_that_the_gateway_takes(made: dict[str, Rendered]) -> None:
    case = made["ray"]
    cluster = case.of("RayCluster")[0]
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert f"ray>={cluster['spec']['rayVersion'].rpartition('.')[0]}," in extra["cluster"][0]
    settings = read_settings({}, environment_of(gateway_of(case)))
    assert (settings.cluster, settings.devices) == ("auto", ("gpu:8",))
    ray = case.one("Deployment")["spec"]["template"]["spec"]["initContainers"][0]
    name = cluster["metadata"]["name"]
    assert f"--address={name}-head-svc:6379" in ray["command"]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": f"{name}'s auth_token"}
    assert environment_of(ray) == token
    assert environment_of(gateway_of(case)).items() >= token.items()
    policy = case.one("NetworkPolicy", name)["spec"]
    assert policy["podSelector"]["matchLabels"] == {"ray.io/cluster": name}
    assert all(rule["from"] for rule in policy["ingress"])


def test_the_charts_version_is_the_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == project["version"]


def test_the_page_names_every_value() -> None:
    page = (CHART / "README.md").read_text()
    assert [name for name in VALUES if f"`{name}" not in page] == []
    assert [name for name in EXAMPLES if f"examples/{name}.yaml" not in page] == []
