"""Manifests as data: one valid, one with every field, and each way to be wrong that FLJob promises to refuse.

Read by the tests of this folder. A case changes one thing of the minimal manifest and says which path the
refusal must name, and whether the API server refuses it too or only `validate` (which the operator reports
as condition Accepted=False).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

ABSENT = object()


@dataclass(frozen=True)
class Case:
    """One invalid manifest: the minimal one with `changes` (path → value), refused at `path`."""

    name: str
    changes: dict[str, Any]
    path: str
    by_api_server: bool = True
    says: str = field(default="")


def minimal(**spec: Any) -> dict[str, Any]:
    """Return the smallest valid manifest, with fields of the spec added or replaced."""
    value: dict[str, Any] = {
        "apiVersion": "fljob.dev/v1alpha1",
        "kind": "FLJob",
        "metadata": {"name": "movies"},
        "spec": {
            "model": {"name": "ncf"},
            "rounds": 3,
            "dataset": {"name": "synthetic"},
            "trainers": [{"name": "site-0"}, {"name": "site-1"}],
        },
    }
    value["spec"].update(spec)
    return value


def changed(manifest: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a copy with each `a.b.0.c` path set to its value, or removed when the value is ABSENT."""
    result = copy.deepcopy(manifest)
    for path, value in changes.items():
        *parents, last = [int(key) if key.isdigit() else key for key in path.split("/")]
        at: Any = result
        for key in parents:
            at = at.setdefault(key, {}) if isinstance(at, dict) else at[key]
        if value is ABSENT:
            del at[last]
        else:
            at[last] = copy.deepcopy(value)
    return result


_SCHEDULE = {"name": "QuadraticDecay", "warmUpRounds": 2, "decayStartRound": 5, "decayRounds": 4}
_STOP = [
    {"metric": "AUC", "operator": "GreaterOrEqual", "value": "0.8"},
    {"metric": "Loss", "operator": "NoImprovement", "patience": 3},
]
_TABLES = [
    {"name": "user_embedding", "keys": "Any"},
    {"name": "item_embedding", "keys": "Any", "admitAfter": 2, "expireAfterRounds": 30, "maxRows": 1000},
    {"name": "other_embedding"},
]
_INITIAL_VALUES = [
    {"path": "runs/gmf"},
    {
        "path": "mlp/model.safetensors",
        "persistentVolumeClaim": {"claimName": "models", "subPath": "old"},
        "parameters": [{"name": "output", "keptName": "last", "weight": "0.5"}],
    },
]


def full() -> dict[str, Any]:
    """Return a manifest that sets every kind of field."""
    template = {
        "image": "registry.example/fljob-runtime:1",
        "imagePullPolicy": "IfNotPresent",
        "imagePullSecrets": ["pull"],
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": 1073741824}},
        "env": [{"name": "OMP_NUM_THREADS", "value": "1"}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "priorityClassName": "batch",
        "labels": {"team": "films"},
        "annotations": {"note": "any text: even this"},
    }
    return minimal(
        suspend=True,
        suspendGracePeriodSeconds=5,
        model={"name": "ncf", "parameters": {"mode": "MLP", "layers": "64,32,16,8"}},
        optimizer={"name": "SGD", "learningRate": "1e-2", "schedule": _SCHEDULE},
        trainers=[
            {
                "name": "site-0",
                "data": {"persistentVolumeClaim": {"claimName": "ratings-0", "subPath": "part/0"}},
                "storage": {"persistentVolumeClaim": {"claimName": "private-0"}},
                "resources": {"requests": {"cpu": 2}},
                "nodeSelector": {"site": "zero"},
                "device": "cuda:1",
            },
            {"name": "site-1", "data": {"configMap": {"name": "ratings-1"}}},
            {"name": "site-2", "data": {"csi": {"driver": "csi.example", "volumeAttributes": {"share": "a"}}}},
        ],
        strategy={"name": "FedAvg", "mode": "Sync", "innerSteps": 7, "weighting": "Uniform"},
        parameterScopes=[{"name": "user_embedding", "scope": "Private"}],
        tables=_TABLES,
        initialValues=_INITIAL_VALUES,
        seed=9007199254740992,
        seeds={"data": 1, "initialValues": 2, "model": 3},
        precision="BFloat16",
        device="auto",
        dump={"fields": ["user", "prediction"], "parameters": ["item_embedding"], "everyRounds": 2, "maxExamples": 100},
        rounds=10,
        stopCriteria=_STOP,
        participation={"count": 2},
        quorum={"minTrainers": 2},
        evaluation={"everyRounds": 2, "bestMetric": "NDCG@10"},
        security={"tls": "Disabled"},
        imports=["films.models"],
        coordinator=template,
        server={**template, "replicas": 3},
        trainerTemplate=template,
        checkpoint={"volumeClaimTemplate": {"storage": "1Gi", "storageClassName": "fast"}, "keep": 5},
        failurePolicy={"maxFailedTrainers": 1},
        activeDeadlineSeconds=3600,
        ttlSecondsAfterFinished=0,
        cleanPodPolicy="None",
    )


def _spec(name: str, field_path: str, value: Any, path: str, *, api: bool = True, says: str = "") -> Case:
    return Case(name, {f"spec/{field_path}": value}, path, api, says)


_TRAINER = "spec.trainers[1]"
MISSING = (
    _spec("no model", "model", ABSENT, "spec.model"),
    _spec("initial values of no model", "initialValues", [{}], "spec.initialValues[0].path"),
    _spec(
        "a weight below zero",
        "initialValues",
        [{"path": "m", "parameters": [{"name": "output", "weight": "-1"}]}],
        "spec.initialValues[0].parameters[0].weight",
    ),
    _spec("no rounds", "rounds", ABSENT, "spec.rounds"),
    _spec("no dataset", "dataset", ABSENT, "spec.dataset"),
    _spec("no trainers", "trainers", ABSENT, "spec.trainers"),
    _spec("no trainer in the list", "trainers", [], "spec.trainers"),
    _spec("model without a name", "model", {}, "spec.model.name"),
    _spec("trainer without a name", "trainers/1", {}, "spec.trainers[1].name"),
    Case("no spec", {"spec": ABSENT}, "spec"),
    _spec("storage without a claim", "trainers/1/storage", {}, f"{_TRAINER}.storage.persistentVolumeClaim"),
)
UNKNOWN = (
    _spec("unknown field of the spec", "round", 3, "spec.round", says="`rounds`"),
    _spec("unknown field of a trainer", "trainers/1/dat", {}, "spec.trainers[1].dat", says="`data`"),
    _spec(
        "unknown field of the strategy",
        "strategy/localepochs",
        2,
        "spec.strategy.localepochs",
        says="`localEpochs`",
    ),
    _spec("a whole pod template", "trainerTemplate/spec", {"containers": []}, "spec.trainerTemplate.spec"),
)
TYPES = (
    _spec("rounds as text", "rounds", "5", "spec.rounds", says="leave the quotes out"),
    _spec("rounds with a fraction", "rounds", 2.5, "spec.rounds"),
    _spec("suspend as text", "suspend", "true", "spec.suspend"),
    _spec("a learning rate without quotes", "optimizer/learningRate", 0.01, "spec.optimizer.learningRate"),
    _spec("a learning rate in words", "optimizer/learningRate", "high", "spec.optimizer.learningRate"),
    _spec("a negative learning rate", "optimizer/learningRate", "-0.1", "spec.optimizer.learningRate"),
    _spec("a parameter with a fraction", "model/parameters/dropout", 0.5, "spec.model.parameters.dropout"),
    _spec("a parameter that is a truth value", "model/parameters/bias", True, "spec.model.parameters.bias"),
    _spec("a parameter that is a list", "model/parameters/layers", [64, 32], "spec.model.parameters.layers"),
    _spec("trainers as text", "trainers", "site-0", "spec.trainers"),
    _spec("a quantity in words", "trainers/1/resources/requests", {"cpu": "two"}, f"{_TRAINER}.resources.requests.cpu"),
)
BOUNDS = (
    _spec(
        "a decay that never begins to fall",
        "optimizer",
        {"schedule": {"name": "Cosine", "decayRounds": 1}},
        "spec.optimizer.schedule.decayRounds",
    ),
    _spec("no rounds at all", "rounds", 0, "spec.rounds"),
    _spec("too many rounds", "rounds", 100_001, "spec.rounds"),
    _spec("a negative seed", "seed", -1, "spec.seed"),
    _spec("a negative seed of the data", "seeds", {"data": -1}, "spec.seeds.data"),
    _spec("a table of no rows", "tables", [{"name": "u", "keys": "Any", "maxRows": 0}], "spec.tables[0].maxRows"),
    _spec("an empty batch", "strategy/batchSize", 0, "spec.strategy.batchSize"),
    _spec("too many trainers", "trainers", [{"name": f"t{i}"} for i in range(129)], "spec.trainers"),
    _spec("too many shards", "server/replicas", 17, "spec.server.replicas"),
    _spec("too many parameters", "model/parameters", {f"p{i}": i for i in range(33)}, "spec.model.parameters"),
    _spec("a round without time", "roundTimeoutSeconds", 0, "spec.roundTimeoutSeconds"),
    _spec("a share of more than all", "participation/percent", 101, "spec.participation.percent"),
    _spec("a quorum of none", "quorum/minTrainers", 0, "spec.quorum.minTrainers"),
    _spec("a quorum of more than all", "quorum/minTrainers", "101%", "spec.quorum.minTrainers"),
    _spec("a quorum as quoted number", "quorum/minTrainers", "2", "spec.quorum.minTrainers"),
)
NAMES = (
    _spec("a checkpoint in a store with options", "checkpoint", {"uri": "s3://bucket?key=a"}, "spec.checkpoint.uri"),
    _spec("a checkpoint at no uri", "checkpoint", {"uri": "/folder"}, "spec.checkpoint.uri"),
    _spec("a trainer with capitals", "trainers/1/name", "Site-1", "spec.trainers[1].name"),
    _spec("a trainer with a long name", "trainers/1/name", "x" * 64, "spec.trainers[1].name"),
    _spec("two trainers of one name", "trainers/1/name", "site-0", "spec.trainers[1]"),
    Case("a job that starts with a digit", {"metadata/name": "1movies"}, "metadata.name"),
    Case("a job with dots", {"metadata/name": "movies.v1"}, "metadata.name"),
    Case("a job with a long name", {"metadata/name": "m" * 64}, "metadata.name"),
    _spec("a module that is a path", "imports", ["films/models.py"], "spec.imports[0]"),
    _spec(
        "a path that leaves the volume",
        "trainers/1/data",
        {"persistentVolumeClaim": {"claimName": "c", "subPath": "../x"}},
        f"{_TRAINER}.data.persistentVolumeClaim.subPath",
    ),
    _spec(
        "a path that leaves the volume later",
        "trainers/1/data",
        {"persistentVolumeClaim": {"claimName": "c", "subPath": "a/../../x"}},
        f"{_TRAINER}.data.persistentVolumeClaim.subPath",
    ),
    _spec(
        "a scope given twice",
        "parameterScopes",
        [{"name": "u", "scope": "Shared"}, {"name": "u", "scope": "Private"}],
        "spec.parameterScopes[1]",
    ),
    _spec("a table given twice", "tables", [{"name": "u"}, {"name": "u", "keys": "Any"}], "spec.tables[1]"),
    _spec(
        "a label key with a space",
        "trainerTemplate/labels",
        {"my team": "a"},
        "spec.trainerTemplate.labels.my team",
        api=False,
    ),
    _spec(
        "a label value with a space", "trainerTemplate/labels", {"team": "my team"}, "spec.trainerTemplate.labels.team"
    ),
)
ENUMS = (
    _spec("an unknown metric of the best", "evaluation/bestMetric", "auc", "spec.evaluation.bestMetric"),
    _spec("an unknown device", "device", "gpu", "spec.device"),
    _spec("an unknown device of a trainer", "trainers/1/device", "cuda:x", "spec.trainers[1].device"),
    _spec("an unknown precision", "precision", "bf16", "spec.precision", says="`BFloat16`"),
    _spec(
        "an unknown schedule",
        "optimizer",
        {"schedule": {"name": "Cosin", "decayRounds": 3}},
        "spec.optimizer.schedule.name",
        says="`Cosine`",
    ),
    _spec(
        "a server optimizer of no such name",
        "strategy",
        {"serverOptimizer": {"name": "Yogy"}},
        "spec.strategy.serverOptimizer.name",
        api=False,
    ),
    _spec(
        "a codec of no such name",
        "strategy",
        {"compression": [{"name": "topk"}]},
        "spec.strategy.compression[0].name",
        says="`topK`",
        api=False,
    ),
    _spec(
        "a codec that sends nothing",
        "strategy",
        {"compression": [{"name": "topK", "parameters": {"fraction": "0"}}]},
        "spec.strategy.compression[0].parameters.fraction",
        api=False,
    ),
    _spec("an unknown mode", "strategy/mode", "Asink", "spec.strategy.mode"),
    _spec("an unknown strategy", "strategy/name", "FedAverage", "spec.strategy.name", says="`FedAvg`"),
    _spec("an unknown weighting", "strategy/weighting", "samples", "spec.strategy.weighting", says="`Samples`"),
    _spec("tls neither on nor off", "security/tls", "disabled", "spec.security.tls", says="`Disabled`"),
    _spec(
        "an unknown metric",
        "stopCriteria",
        [{"metric": "F1", "operator": "NoImprovement"}],
        "spec.stopCriteria[0].metric",
    ),
    _spec("unknown keys", "tables", [{"name": "u", "keys": "any"}], "spec.tables[0].keys", says="`Any`"),
    _spec("an unknown clean-up", "cleanPodPolicy", "all", "spec.cleanPodPolicy", says="`All`"),
)
RULES = (
    _spec(
        "data of two kinds",
        "trainers/1/data",
        {"configMap": {"name": "a"}, "persistentVolumeClaim": {"claimName": "b"}},
        "spec.trainers[1].data",
    ),
    _spec("data of no kind", "trainers/1/data", {}, "spec.trainers[1].data"),
    _spec("a dump of nothing", "dump", {"fields": [], "parameters": []}, "spec.dump.fields"),
    _spec("a geo step where there is none", "strategy", {"geoStep": 5}, "spec.strategy.geoStep"),
    _spec("a staleness bound where nothing is stale", "strategy", {"maxStaleness": 5}, "spec.strategy.maxStaleness"),
    _spec(
        "a codec behind one that leaves nothing",
        "strategy",
        {"compression": [{"name": "int8"}, {"name": "topK"}]},
        "spec.strategy.compression",
    ),
    _spec(
        "compressed updates of another algorithm",
        "strategy",
        {"name": "FedProx", "parameters": {"mu": "0.1"}, "compression": [{"name": "int8"}]},
        "spec.strategy.compression",
    ),
    _spec(
        "a server optimizer in Geo",
        "strategy",
        {"mode": "Geo", "serverOptimizer": {"name": "SGD"}},
        "spec.strategy.serverOptimizer",
    ),
    _spec(
        "row averaging without averages",
        "strategy",
        {"mode": "Async", "serverOptimizer": {"name": "SGD"}, "rowAveraging": "All"},
        "spec.strategy.rowAveraging",
    ),
    _spec(
        "an algorithm of rounds in a mode without updates",
        "strategy",
        {"name": "FedProx", "parameters": {"mu": "0.1"}, "mode": "Geo"},
        "spec.strategy.name",
    ),
    Case(
        "Scaffold with a server optimizer",
        {"spec/strategy": {"name": "Scaffold", "serverOptimizer": {"name": "SGD"}}, "spec/optimizer": {"name": "SGD"}},
        "spec.strategy.serverOptimizer",
    ),
    _spec("FedNova with Adam", "strategy", {"name": "FedNova"}, "spec.optimizer.name"),
    Case(
        "Scaffold with momentum",
        {
            "spec/strategy": {"name": "Scaffold"},
            "spec/optimizer": {"name": "SGD", "parameters": {"momentum": "0.9"}},
        },
        "spec.optimizer.parameters",
    ),
    _spec(
        "a warm-up of no length",
        "optimizer",
        {"schedule": {"name": "WarmUp"}},
        "spec.optimizer.schedule.warmUpRounds",
    ),
    _spec(
        "a constant rate that warms up",
        "optimizer",
        {"schedule": {"name": "Constant", "warmUpRounds": 1}},
        "spec.optimizer.schedule.warmUpRounds",
    ),
    _spec(
        "a decay of no length",
        "optimizer",
        {"schedule": {"name": "Cosine"}},
        "spec.optimizer.schedule.decayRounds",
    ),
    _spec(
        "a decay before the warm-up has ended",
        "optimizer",
        {"schedule": {"name": "Cosine", "warmUpRounds": 3, "decayStartRound": 3, "decayRounds": 2}},
        "spec.optimizer.schedule.decayStartRound",
    ),
    Case(
        "a schedule that nobody follows",
        {
            "spec/strategy": {"mode": "Async", "serverOptimizer": {"name": "SGD"}},
            "spec/optimizer": {"schedule": {"name": "Cosine", "decayRounds": 2}},
        },
        "spec.optimizer.schedule",
    ),
    _spec("gradients that nobody applies", "strategy", {"mode": "Async"}, "spec.strategy.serverOptimizer"),
    _spec("rows summed in Sync", "strategy", {"rowAveraging": "Summed"}, "spec.strategy.rowAveraging"),
    _spec("rows averaged in Geo", "strategy", {"mode": "Geo", "rowAveraging": "Touched"}, "spec.strategy.rowAveraging"),
    _spec("a buffer where there is none", "strategy", {"bufferSize": 1}, "spec.strategy.bufferSize"),
    _spec(
        "a buffer that cannot be filled", "strategy", {"mode": "Buffered", "bufferSize": 3}, "spec.strategy.bufferSize"
    ),
    _spec(
        "more versions than servers hold",
        "strategy",
        {"mode": "Buffered", "maxStaleness": 101},
        "spec.strategy.maxStaleness",
    ),
    Case(
        "a part of the trainers in Buffered",
        {"spec/strategy": {"mode": "Buffered"}, "spec/participation": {"percent": 50}},
        "spec.participation",
    ),
    _spec("admission of rows that are there", "tables", [{"name": "u", "admitAfter": 2}], "spec.tables[0].admitAfter"),
    _spec(
        "expiry of rows that are there",
        "tables",
        [{"name": "u", "keys": "Range", "expireAfterRounds": 3}],
        "spec.tables[0].expireAfterRounds",
    ),
    _spec("a bound of rows that are there", "tables", [{"name": "u", "maxRows": 9}], "spec.tables[0].maxRows"),
    Case(
        "Scaffold with rows made as they come",
        {
            "spec/strategy": {"name": "Scaffold"},
            "spec/optimizer": {"name": "SGD"},
            "spec/tables": [{"name": "u", "keys": "Any"}],
        },
        "spec.tables",
    ),
    _spec("epochs and steps together", "strategy", {"localEpochs": 1, "innerSteps": 2}, "spec.strategy"),
    _spec("count and percent together", "participation", {"count": 1, "percent": 50}, "spec.participation"),
    _spec("a quorum that cannot be", "quorum/minTrainers", 3, "spec.quorum.minTrainers"),
    _spec("a cohort that cannot be", "participation/count", 3, "spec.participation.count"),
    _spec("every trainer may fail", "failurePolicy/maxFailedTrainers", 2, "spec.failurePolicy.maxFailedTrainers"),
    _spec("suspend without a checkpoint", "suspend", True, "spec.suspend"),
    _spec(
        "a checkpoint of two kinds",
        "checkpoint",
        {"persistentVolumeClaim": {"claimName": "a"}, "volumeClaimTemplate": {"storage": "1Gi"}},
        "spec.checkpoint",
    ),
    _spec("a checkpoint of no kind", "checkpoint", {}, "spec.checkpoint"),
    _spec(
        "a checkpoint on a volume and behind a uri",
        "checkpoint",
        {"uri": "s3://bucket/folder", "volumeClaimTemplate": {"storage": "1Gi"}},
        "spec.checkpoint",
    ),
    _spec("a checkpoint in memory", "checkpoint", {"uri": "memory://folder"}, "spec.checkpoint.uri"),
    _spec("a password in a uri", "checkpoint", {"uri": "ftp://me:secret@host/folder"}, "spec.checkpoint.uri"),
    _spec(
        "credentials without a store",
        "checkpoint",
        {"volumeClaimTemplate": {"storage": "1Gi"}, "secretRef": {"name": "keys"}},
        "spec.checkpoint.secretRef",
    ),
    _spec(
        "a bound without a value",
        "stopCriteria",
        [{"metric": "AUC", "operator": "GreaterOrEqual"}],
        "spec.stopCriteria[0].value",
    ),
    _spec(
        "an environment name of ours",
        "coordinator/env",
        [{"name": "FLJOB_X", "value": "1"}],
        "spec.coordinator.env[0].name",
    ),
    _spec("a label of ours", "server/labels", {"fljob.dev/job": "other"}, "spec.server.labels"),
)
CATALOG = (
    _spec("an unknown model", "model/name", "ncff", "spec.model.name", api=False, says="`ncf`"),
    _spec("an unknown dataset", "dataset/name", "movielenz", "spec.dataset.name", api=False, says="`movielens`"),
    _spec("an unknown optimizer", "optimizer/name", "adam", "spec.optimizer.name", api=False, says="`Adam`"),
    _spec(
        "an unknown selector",
        "participation/selector/name",
        "Rendom",
        "spec.participation.selector.name",
        api=False,
        says="`Random`",
    ),
    _spec(
        "an unknown parameter",
        "model/parameters",
        {"layer": "8"},
        "spec.model.parameters.layer",
        api=False,
        says="`layers`",
    ),
    _spec("FedProx without its mu", "strategy", {"name": "FedProx"}, "spec.strategy.parameters.mu", api=False),
    _spec(
        "an unknown parameter of an algorithm",
        "strategy",
        {"name": "FedProx", "parameters": {"mu": "0.1", "mus": "1"}},
        "spec.strategy.parameters.mus",
        api=False,
        says="`mu`",
    ),
    _spec(
        "a parameter of an algorithm without any",
        "strategy/parameters",
        {"mu": "0.1"},
        "spec.strategy.parameters.mu",
        api=False,
    ),
    _spec(
        "a parameter out of its choice",
        "model/parameters",
        {"mode": "MPL"},
        "spec.model.parameters.mode",
        api=False,
        says="`MLP`",
    ),
)
INVALID = (*MISSING, *UNKNOWN, *TYPES, *BOUNDS, *NAMES, *ENUMS, *RULES, *CATALOG)
