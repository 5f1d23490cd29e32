"""The dashboard and the alerts, held against a gateway that Prometheus scrapes.

It runs as in its image: without rights, on a root that is read-only.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from gateway.telemetry import metrics
from tests.deploy.container import USER, Contained, contained
from tests.deploy.prometheus import Prometheus, scraping
from tests.programs import program
from tests.serving import ROOT

DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "prometheus/alerts.yaml"
CASES = Path(__file__).with_name("alerts.yaml")
DASHBOARD = json.loads((DEPLOY / "grafana/image-gateway.json").read_text())
TARGETS = [target for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
SELECTOR = re.compile(r"([a-z_]\w*)\{([^}]*)\}")
GROUPING = re.compile(r"(?:by|without|on|ignoring) \(([^)]*)\)")
SCRAPED = {"job", "instance", "pod", "container"}
"""What Prometheus says of where a series comes from."""

OWN = {
    metric._name: {*metric._labelnames, *({"le"} if metric._type == "histogram" else ())}
    for metric in vars(metrics).values()
    if isinstance(metric, MetricWrapperBase)
}
OWN |= {
    "gateway_queue_depth": set(),
    "gateway_running_samples": set(),
    "gateway_queued_seconds": {"replica"},
    "gateway_adapter_loaded": {"model", "level", "rank"},
    "gateway_adapter_slots": set(),
    "gateway_adapter_in_use": {"model", "state"},
}
"""The labels of the gateway's metrics, by name; those of counters without `_total`."""


def family(name: str) -> str:
    """A metric by what its series are called."""
    return re.sub(r"_(total|bucket|sum|count)$", "", name) if name.startswith("gateway_") else name


def expanded(expression: str) -> str:
    """A panel's expression as Grafana asks it, of all gateways."""
    for name, value in (("$job", "image-gateway"), ("$instance", ".*"), ("$__rate_interval", "1m")):
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def labels_named(text: str) -> set[str]:
    """Those of `a, b` or `a="x", b=~"y"`."""
    return set(re.findall(r"(\w+)\s*(?:[=!]~?\"|,|$)", re.sub(r'"[^"]*"', '""', text)))


EXPRESSIONS = [expanded(target["expr"]) for target in TARGETS] + [rule["expr"] for rule in RULES]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contained]:
    with contained(tmp_path_factory.mktemp("state"), "--url-allow", "127.0.0.1") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def prometheus(
    gateway: Contained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """One that has seen the gateway at work."""
    folder = tmp_path_factory.mktemp("prometheus")
    with scraping(gateway.url.removeprefix("http://"), ALERTS, folder) as server:
        server.wait_for('gateway_health{check="engine"} == 1')
        work(gateway)
        server.wait_for('rate(gateway_webhook_tries_total{state="retrying"}[1m]) > 0')
        server.wait_for('rate(gateway_runs_ended_total{status="success"}[1m]) > 0')
        server.wait_for("rate(gateway_adapter_hits_total[1m])")
        yield server


def work(gateway: Contained) -> None:
    """Something of everything: pictures, an adapter, a fault, a run whose webhook is refused."""
    with httpx.Client(base_url=gateway.url, timeout=60) as client:
        for model, status in (("emoji", 200), ("emoji:3d", 200), ("none", 404)):
            body = {"model": model, "prompt": "an apple"}
            answer = client.post("/v1/images/generations", json=body)
            assert answer.status_code == status, answer.text
        run = {"model_id": "emoji", "inputs": {"prompt": "x"}, "webhook": f"{gateway.url}/health"}
        client.post("/api/run", json=run).raise_for_status()


def test_the_gateway_has_no_rights_and_a_root_that_is_read_only(gateway: Contained) -> None:
    if os.getuid() == 0:
        assert set(gateway.status("Uid")) == {USER}
        assert int(gateway.status("CapEff")[0], 16).bit_count() <= 1
    mounts = Path(f"/proc/{gateway.process.pid}/mounts").read_text().splitlines()
    (root,) = [line.split() for line in mounts if line.split()[1] == "/"]
    assert "ro" in root[3].split(",")


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_and_label_exists(expression: str) -> None:
    selectors = SELECTOR.findall(expression)
    assert selectors
    known = set(SCRAPED)
    for name, matchers in selectors:
        if name.startswith("gateway_"):
            assert family(name) in OWN
            known |= OWN[family(name)]
            assert labels_named(matchers) <= OWN[family(name)] | SCRAPED
    for names in GROUPING.findall(expression):
        assert labels_named(names) <= known
    assert set(re.findall(r"gateway_\w+", expression)) == {
        name for name, _ in selectors if name.startswith("gateway_")
    }, "a metric without a selector is every job's"


def test_legends_name_labels_that_are_left() -> None:
    for target in TARGETS:
        named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        kept = {
            name
            for names in re.findall(r"by \(([^)]*)\)", target["expr"])
            for name in labels_named(names)
        }
        bare = set[str]() if "by (" in target["expr"] else set().union(
            *(OWN.get(family(name), set()) for name, _ in SELECTOR.findall(target["expr"])), SCRAPED
        )
        assert named <= kept | bare, target


def test_prometheus_has_every_metric(prometheus: Prometheus) -> None:
    told = {family(entry["metric"]) for entry in prometheus.ask("targets/metadata")}
    names = {name for expression in EXPRESSIONS for name, _ in SELECTOR.findall(expression)}
    assert {family(name) for name in names} - {"up"} <= told


def test_its_series_have_the_labels_that_are_expected(prometheus: Prometheus) -> None:
    found = prometheus.ask("series", **{"match[]": '{__name__=~"gateway_.*"}'})
    assert len(found) > 100
    for series in found:
        name = family(series["__name__"])
        if name in OWN:
            assert series.keys() - {"__name__"} <= OWN[name] | {"job", "instance"}


def test_the_dashboard_shows_a_gateway_at_work(prometheus: Prometheus) -> None:
    """What there are series of is shown; nothing else is left out than what did not happen."""
    silent = set()
    for target in TARGETS:
        expression = expanded(target["expr"])
        if not prometheus.query(expression):
            silent |= {family(name) for name, _ in SELECTOR.findall(expression)}
    now = prometheus.query('group by (__name__) ({job="image-gateway"})')
    seen = {family(series["metric"]["__name__"]) for series in now}
    assert silent & seen == set()
    assert len({family(n) for e in EXPRESSIONS for n, _ in SELECTOR.findall(e)} & seen) > 25


def test_a_healthy_gateway_alerts_nobody(prometheus: Prometheus) -> None:
    groups = prometheus.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(RULES)
    faults = [rule.get("lastError") for rule in rules if rule["health"] == "err"]
    assert faults == []
    disk = shutil.disk_usage(tempfile.gettempdir())
    true = {"ImageGatewayDiskLow"} if disk.free < 0.1 * disk.total else set()
    assert {rule["alert"] for rule in RULES if prometheus.query(rule["expr"])} == true


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    promtool = program("promtool", package="prometheus")
    cases = tmp_path / "cases.yaml"
    cases.write_text(CASES.read_text().replace("ALERTS", str(ALERTS)))
    for act, path in (("check", ALERTS), ("test", cases)):
        command = [promtool, act, "rules", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_its_cases_on_series_that_exist() -> None:
    tests = yaml.safe_load(CASES.read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    names = {rule["alert"] for rule in RULES}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names
    for test in tests:
        for series in test["input_series"]:
            ((name, labels),) = SELECTOR.findall(series["series"])
            if name.startswith("gateway_"):
                assert labels_named(labels) == OWN[family(name)] | {"job", "instance"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_every_alert_is_explained(rule: dict[str, Any]) -> None:
    place, _, anchor = rule["annotations"]["runbook"].partition("#")
    page = (ROOT / place).read_text()
    headings = re.findall(r"^#+ (\w+)$", page, re.M)
    assert rule["alert"] in headings
    assert anchor == rule["alert"].lower()
    told = page.partition(f"# {rule['alert']}\n")[2].partition("\n#")[0]
    assert "**Means**" in told
    assert "**Do**" in told
