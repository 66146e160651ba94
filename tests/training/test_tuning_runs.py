"""Runs of training by the trainers of trl: what changes, what is kept, and going on."""

import random
import resource

import numpy as np
import pytest
import torch

from support.letter_models import make_letters, make_model
from support.masked_weights import copied
from synkern import tasks
from synkern.tasks import Task
from synkern.training import Method, train_nodes
from synkern.training.tuning import run as runs
from synkern.training.tuning import trainers
from synkern.training.tuning.rewards import Reward

pytestmark = [
    pytest.mark.usefixtures("trl", "datasets"),
    pytest.mark.filterwarnings("ignore"),  # of three packages, about their own ways
]

NODES = ["L0H1", "L1H2"]
SUMS = tasks.generate(40, seed=0, split="train", categories=["addition"], levels=1)
OTHERS = tasks.generate(8, seed=0, split="validation", categories=["addition"], levels=1)
SFT = Method(steps=6, texts=4, learning_rate=1e-2, checks=3, max_new_tokens=4, weight_decay=0.1)
GRPO = Method(
    name="grpo",
    steps=4,
    texts=8,
    generations=4,
    learning_rate=1e-2,
    checks=2,
    max_new_tokens=4,
    temperature=1.5,
)
METHODS = {"sft": SFT, "grpo": GRPO}


@pytest.fixture(autouse=True)
def a_reward_that_a_random_model_can_have(monkeypatch):
    """It never writes a right sum, and equal rewards teach nothing."""
    monkeypatch.setattr(Reward, "_of", lambda self, task, text, ids: float(sum(ids) % 3))


def trained(folder, method=SFT, model=None, **options):
    model = make_model() if model is None else model
    given = {"seed": 7, "folder": folder / "run"} | options
    return train_nodes(model, make_letters(), NODES, SUMS, OTHERS, method, **given)


def _numbers_of_numpy():
    return np.random.get_state()[1].tolist()  # noqa: NPY002  # what trainers seed


def bits(run):
    said = (run.steps, run.validation, run.selected, run.logged_steps, run.logged)
    return said, (run.groups, run.silent), [t.tolist() for t in (*run._best, *run._last)]


@pytest.mark.parametrize("name", METHODS)
def test_the_model_ends_as_it_was_and_the_run_has_what_was_trained(name, tmp_path):
    model, method = make_model(), METHODS[name]
    before, config = copied(model), model.config.to_dict()
    generation = model.generation_config.to_dict()
    torch.manual_seed(3)
    states = random.getstate(), _numbers_of_numpy(), torch.get_rng_state()
    told = []
    run = trained(tmp_path, method, model, progress=told.append)
    assert all(torch.equal(value, before[key]) for key, value in copied(model).items())
    assert not any(module.training for module in model.modules())
    assert (model.config.to_dict(), model.generation_config.to_dict()) == (config, generation)
    assert random.getstate() == states[0]
    assert _numbers_of_numpy() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert not (tmp_path / "run").exists()
    assert told == list(run.steps[1:]) == list(method.checked[1:])
    assert run.trained == 2 * 2 * 12 * 48
    assert run.logged_steps == tuple(range(1, method.steps + 1))
    with run.weights("last"):
        changed = {key for key, v in copied(model).items() if not torch.equal(v, before[key])}
    layers = [f"model.layers.{i}.self_attn.{part}_proj.weight" for i in (0, 1) for part in "qo"]
    assert changed == {*layers}
    assert all(torch.equal(value, before[key]) for key, value in copied(model).items())
    if name == "grpo":
        assert run.groups == 2 * method.steps
        assert 0 <= run.silent <= run.groups
    with pytest.raises(ValueError, match="which: 'best'; choose selected or last"):
        run.weights("best").__enter__()


@pytest.mark.parametrize("name", METHODS)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(name, tmp_path):
    whole = trained(tmp_path / "whole", METHODS[name])

    def stopped(step):
        # The checkpoint of this step is not written yet: that of the one before is gone on from.
        if step == METHODS[name].checked[2]:
            raise KeyboardInterrupt

    model = make_model()
    before = copied(model)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, METHODS[name], model, progress=stopped)
    assert all(torch.equal(value, before[key]) for key, value in copied(model).items())
    steps = []
    again = trained(tmp_path, METHODS[name], model, progress=steps.append)
    assert bits(again) == bits(whole)
    assert steps == list(METHODS[name].checked[2:])


def test_means_that_are_noted_are_the_same_of_a_run_that_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(trainers, "LOGS", 1)  # every 6 steps, and at the checks at 2, 4 and 6
    whole = trained(tmp_path / "whole")
    assert whole.logged_steps == SFT.checked[1:]

    def stopped(step):
        if step == SFT.checked[2]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, progress=stopped)
    assert bits(trained(tmp_path)) == bits(whole)


@pytest.mark.parametrize("name", METHODS)
def test_a_run_that_was_stopped_when_it_was_done_takes_no_step_more(name, tmp_path, monkeypatch):
    whole = trained(tmp_path / "whole", METHODS[name])
    with monkeypatch.context() as patch:
        patch.setattr(runs, "noted", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            trained(tmp_path, METHODS[name])
    assert (tmp_path / "run").exists()
    assert bits(trained(tmp_path, METHODS[name])) == bits(whole)


def test_half_a_checkpoint_is_not_gone_on_from(tmp_path):
    def stopped(step):
        if step == SFT.checked[3]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, progress=stopped)
    newest = tmp_path / "run" / f"checkpoint-{SFT.checked[2]}"
    (newest / "checks.pt").unlink()
    steps = []
    again = trained(tmp_path, progress=steps.append)
    assert steps == list(SFT.checked[2:])
    assert bits(again) == bits(trained(tmp_path / "whole"))


def test_seeds_decide_and_repeat(tmp_path):
    first, same, other = (trained(tmp_path, seed=seed) for seed in (1, 1, 2))
    assert bits(first) == bits(same)
    assert first.logged != other.logged


def test_the_best_validation_is_selected_the_first_of_equals(tmp_path, monkeypatch):
    right = iter([0.25, 0.5, 0.5, 0.25])

    class Found:
        @property
        def accuracy(self):
            return next(right)

    monkeypatch.setattr("synkern.training.tuning.run.exact_match", lambda *a, **k: Found())
    run = trained(tmp_path)
    assert (run.validation, run.selected) == ((0.25, 0.5, 0.5, 0.25), 1)
    assert not all(torch.equal(a, b) for a, b in zip(run._best, run._last, strict=True))
    assert "25.0% before, 50.0% at step 2, 25.0% at the last" in repr(run)


def test_a_model_learns_what_it_is_taught(tmp_path):
    """The same answer to all, by the heads that train alone."""
    always = [Task(f"{a}+{b}=", "7", (), 1, "addition") for a in range(5) for b in range(5)]
    method = Method(steps=60, texts=8, learning_rate=3e-2, checks=2, max_new_tokens=3)
    run = train_nodes(
        make_model(),
        make_letters(),
        [f"L{layer}H{head}" for layer in (0, 1) for head in range(4)],
        always[:20],
        always[20:],
        method,
        folder=tmp_path / "run",
    )
    assert (run.validation[0], run.validation[-1]) == (0.0, 1.0)
    assert run.logged[-1] < run.logged[0] - 0.5


def test_a_divergence_is_from_the_model_as_it_was(tmp_path):
    method = Method(**vars(GRPO) | {"kl": 0.5})
    run, free = (trained(tmp_path, one) for one in (method, GRPO))
    assert run._last[0].tolist() != free._last[0].tolist()


def test_texts_that_are_read_in_parts_make_the_same_step(tmp_path):
    whole, parts = (trained(tmp_path, batch_size=size) for size in (16, 2))
    for a, b in zip(whole._last, parts._last, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-3)
    with pytest.raises(ValueError, match="batch_size: 3 of the 4 texts of a step"):
        trained(tmp_path, batch_size=3)


@pytest.mark.parametrize(("trained_on", "asked"), [(1, 4), (16, 64), (100, 64)])
def test_fewer_texts_at_once_are_fewer_questions_at_once(trained_on, asked):
    assert runs.asked_at_once(trained_on) == asked


def test_narrow_numbers_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"model: its numbers are torch.bfloat16.*model.float"):
        trained(tmp_path, model=make_model().bfloat16())


def test_chances_that_are_no_numbers_are_laid_to_the_rate(tmp_path, monkeypatch):
    def drawing(*_):
        raise RuntimeError("probability tensor contains nan")

    monkeypatch.setattr(runs, "run_quietly", drawing)
    with pytest.raises(RuntimeError, match="probability tensor"):
        trained(tmp_path, GRPO)
    monkeypatch.setattr(runs, "_is_finite", lambda model: False)
    with pytest.raises(ValueError, match=r"learning_rate: 0.01 is too high: after step 0 of 4"):
        trained(tmp_path, GRPO)
    monkeypatch.undo()
    model = make_model()
    assert runs._is_finite(model)
    model.lm_head.weight.data[3, 3] = torch.nan
    assert not runs._is_finite(model)


@pytest.mark.parametrize("method", [GRPO, Method(**vars(GRPO) | {"kl": 0.5})])
def test_a_model_whose_own_settings_penalise_draws_the_same_answers(method, tmp_path):
    model = make_model()
    plain = bits(trained(tmp_path, method, model))
    model.generation_config.update(
        do_sample=False, temperature=0.1, no_repeat_ngram_size=1, num_beams=3, suppress_tokens=[9]
    )
    before = model.generation_config.to_dict()
    assert bits(trained(tmp_path, method, model)) == plain
    assert model.generation_config.to_dict() == before


def test_tokenizers_stay_as_they_are_and_one_that_appends_its_end_is_refused(tmp_path):
    tokenizer = make_letters(pad_token=None)
    for method in (SFT, GRPO):
        given = (make_model(), tokenizer, NODES, SUMS, OTHERS, method)
        train_nodes(*given, folder=tmp_path / "run")
        assert tokenizer.pad_token is None
    ending = make_letters(single="<s> $A </s>")
    with pytest.raises(ValueError, match="tokenizer: it appends its end token to every text"):
        train_nodes(make_model(), ending, NODES, SUMS, OTHERS, GRPO, folder=tmp_path / "run")


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt", "checks.half"])
def test_a_full_disk_is_named_and_what_is_there_gone_on_from(file, tmp_path, monkeypatch):
    """No test can fill a disk; files may not grow instead."""
    whole = trained(tmp_path / "whole")
    target = {"model.safetensors": 30_000, "optimizer.pt": None, "checks.half": None}[file]
    save = torch.save

    def full(found, where, *rest, **options):
        if str(where).endswith(file):
            raise RuntimeError("PytorchStreamWriter failed writing file")
        return save(found, where, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if target:
            resource.setrlimit(resource.RLIMIT_FSIZE, (target, limits[1]))
        try:
            with pytest.raises(OSError, match=r"run.* cannot be written to .*; make room, and do"):
                trained(tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert bits(trained(tmp_path)) == bits(whole)


def test_what_a_kill_leaves_of_a_finished_run_is_not_gone_on_from(tmp_path, monkeypatch):
    """Of its checkpoints, as they are removed in any order, some files may be left."""
    whole = trained(tmp_path / "whole")

    rmtree = runs.shutil.rmtree

    def killed(folder, **options):
        if folder != tmp_path / "run":
            return rmtree(folder, **options)
        (folder / f"checkpoint-{SFT.checked[-2]}" / "trainer_state.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path)
    assert bits(trained(tmp_path)) == bits(whole)


@pytest.mark.filterwarnings("error")
def test_other_packages_say_nothing_of_their_own_ways(tmp_path, capfd):
    for method in (SFT, Method(**vars(GRPO) | {"kl": 0.5})):
        trained(tmp_path, method)
    said = capfd.readouterr()
    assert said.out + said.err == ""
