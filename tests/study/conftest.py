"""A finished study, copies of it to be changed, and what tells which stages have run."""

import shutil
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from support import painting, tiny_study
from support.random_atoms import LAYER, atoms, averages
from synkern.analysis import RANKINGS, TrialAverages, layer_profiles
from synkern.study.experiments.tuning import experiment
from synkern.study.models import Models
from synkern.study.room import Model
from synkern.study.stage import own, step_name
from synkern.study.stages import STAGES


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Matrices this small are slower on several threads, much slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def unpainted(request):
    """Figures of these tests are blank, but those of modules that are marked `painted`."""
    with nullcontext() if request.node.get_closest_marker("painted") else painting.unpainted():
        yield


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The folder of a tiny model; not to be changed."""
    return tiny_study.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def finished(model, tmp_path_factory):
    """A study of it; its folder is not to be changed."""
    return tiny_study.again(model, tmp_path_factory.mktemp("study"))


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished study's folder, to be changed."""
    return shutil.copytree(finished.out, tmp_path / "copy")


@pytest.fixture
def ran(monkeypatch):
    """The stages that have run, in order."""
    stages = []

    def listed(run):
        def listing(stage, sources, weights):
            stages.append(step_name(stage.name, weights))
            return run(stage, sources, weights)

        return listing

    for stage in STAGES:
        monkeypatch.setattr(type(stage), "run", listed(type(stage).run))
    return stages


def leave_out_pages(monkeypatch):
    monkeypatch.setattr("synkern.study.report.write_report", lambda folder, *args: folder.path)
    monkeypatch.setattr("synkern.study.explorer.explored_study", lambda *args: None)
    monkeypatch.setattr("synkern.study.explorer.explorer_page", lambda shown: "")


@pytest.fixture
def free(finished, monkeypatch):
    """Makes stages free, with the results of the finished study, and reports as well."""

    def as_finished(stage, sources, weights):
        done = finished.description["stages"].get(step_name(stage.name, weights), {"arrays": []})
        arrays = {name: finished.arrays[name] for name in done["arrays"]}
        return own(arrays, weights), {}

    shape = Model(8, 4, None, cache_bytes=64, prompt_tokens=(3,), parameters=10)
    monkeypatch.setattr(Models, "inspect", lambda models: shape)  # it need not be there
    for stage in STAGES:
        monkeypatch.setattr(type(stage), "run", as_finished)
        monkeypatch.setattr(type(stage), "files", lambda *args: {})
    monkeypatch.setattr("synkern.study.report.findings_of", lambda *args: [])
    leave_out_pages(monkeypatch)


@pytest.fixture
def free_runs(free, ran):
    """Both: stages that cost nothing, listed."""
    return ran


@pytest.fixture(scope="session")
def profiles():
    """Layer profiles of random atoms, by weights and ranking; one excess is incomplete."""
    out = {}
    for seed, weights in enumerate(("trained", "random")):
        plain = averages(*atoms(seed))
        out[weights] = layer_profiles(plain, LAYER, rankings=(*RANKINGS, "synergy"), bootstrap=100)
        excess = atoms(seed)[0] - 0.7
        excess[0, :2, 2:4] = np.nan
        excess[0, 2:4, :2] = np.nan
        if weights == "random":
            excess[2:, 5:] = excess[2:, :, 5:] = np.nan
        for mean in ("excess_synergy", "unrelated_excess"):
            beyond = TrialAverages.of([{"excess": excess}])
            out[weights] |= layer_profiles(beyond, LAYER, rankings=[mean], bootstrap=300)
    return out


@pytest.fixture
def unreported(monkeypatch):
    """Neither pages nor figures, which cost more than so few steps."""
    leave_out_pages(monkeypatch)


@pytest.fixture
def untrained(unreported, monkeypatch):
    """What every run is given, in order; none trains."""
    asked = []

    def noted(model, tokenizer, nodes, tasks, validation, method, **options):
        asked.append(SimpleNamespace(nodes=nodes, tasks=tasks, method=method, **options))
        return SimpleNamespace(
            trained=len(nodes),
            steps=method.checked,
            validation=(0.0,) * len(method.checked),
            selected=0,
            logged_steps=(1,),
            logged=(0.5,),
            groups=4,
            silent=4,
            weights=lambda which: nullcontext(),
        )

    monkeypatch.setattr(experiment.tuning, "train_nodes", noted)
    return asked
