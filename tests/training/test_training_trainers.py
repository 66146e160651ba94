"""Trainers of transformers, trl and peft under a mask: nothing else changes, checkpoints go on."""

import pytest
import tokenizers
import torch
import transformers as tf

import synkern
from support.masked_weights import CASES, HEADS, changes, copied, inside, kind, loss_of, made
from support.tiny_models import VOCAB, prompts
from synkern.models import UnsupportedModelError
from synkern.training import TrainingMaskError

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of three packages, about their own ways
]

COMMON = {
    "max_steps": 3,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "weight_decay": 0.1,
    "learning_rate": 1e-2,
    "use_cpu": True,
    "report_to": [],
    "disable_tqdm": True,
}


class Numbers(torch.utils.data.Dataset):
    ids = prompts(32, 12)

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        return {"input_ids": self.ids[index], "labels": self.ids[index]}


def only_inside(before, model, name="llama", nodes=HEADS):
    changed, own = changes(before, model), inside(model, name, nodes)
    return all(torch.equal(changed[key], numbers) for key, numbers in own.items())


def trainer(model, folder, **options):
    given = tf.TrainingArguments(str(folder), save_steps=2, **COMMON | options)
    return tf.Trainer(model, given, train_dataset=Numbers())


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused", "adafactor"])
@pytest.mark.parametrize("mixed", [{}, {"bf16": True, "gradient_checkpointing": True}])
def test_a_trainer_trains_the_nodes_alone_and_goes_on_from_its_checkpoint(optim, mixed, tmp_path):
    model = made("llama")
    before = copied(model)
    with synkern.training_mask(model, HEADS) as mask:
        run = trainer(model, tmp_path, optim=optim, **mixed)
        run.train()
        # The trainer wraps its optimizer.
        assert {id(p) for p in run.optimizer.state} == {id(p) for p in mask.parameters()}
    assert only_inside(before, model)
    saved = tf.AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-3")
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in saved.state_dict().items())
    again = made("llama")
    with synkern.training_mask(again, HEADS):
        trainer(again, tmp_path, optim=optim, **mixed).train(str(tmp_path / "checkpoint-2"))
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in again.state_dict().items())
    other = made("llama")
    with (
        synkern.training_mask(other, ["L0H2", "L2H0", "L2H2"]),
        pytest.raises(TrainingMaskError, match="goes on from a checkpoint of other nodes"),
    ):
        trainer(other, tmp_path, optim=optim, **mixed).train(str(tmp_path / "checkpoint-2"))


@pytest.mark.parametrize("name", ["gemma3", "gpt_neox", "qwen2_moe"])
def test_a_trainer_of_other_models(name, tmp_path):
    model, nodes = made(name), CASES[name][1]
    before = copied(model)
    with synkern.training_mask(model, nodes, of=kind(name)):
        trainer(model, tmp_path).train()
    assert only_inside(before, model, name, nodes)


@pytest.fixture
def tokenizer():
    words = ["<pad>", "<s>", "</s>", *(f"w{i}" for i in range(3, VOCAB))]
    plain = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<pad>")
    )
    plain.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        padding_side="left",
    )


def texts(rows, words, seed=0):
    return [" ".join(f"w{i}" for i in row) for row in prompts(rows, words, seed).tolist()]


def answers(datasets):
    pairs = zip(texts(32, 4), texts(32, 4, seed=1), strict=True)
    return datasets.Dataset.from_list([{"prompt": p, "completion": f" {a}"} for p, a in pairs])


TRAINED = ("llama", "gemma3", "gpt_neox", "qwen2_moe")


@pytest.mark.parametrize("name", TRAINED)
def test_supervised_training_of_trl(name, trl, datasets, tokenizer, tmp_path):
    model, nodes = made(name), CASES[name][1]
    before = copied(model)
    with synkern.training_mask(model, nodes, of=kind(name)) as mask:
        given = trl.SFTConfig(str(tmp_path), max_length=16, bf16=False, **COMMON)
        run = trl.SFTTrainer(
            model, given, train_dataset=answers(datasets), processing_class=tokenizer
        )
        run.train()
        assert {id(p) for p in run.optimizer.state} == {id(p) for p in mask.parameters()}
    assert only_inside(before, model, name, nodes)


@pytest.mark.parametrize(("name", "beta"), [*((name, 0.0) for name in TRAINED), ("llama", 0.04)])
def test_reinforcement_learning_of_trl(name, beta, trl, datasets, tokenizer, tmp_path):
    made(name).save_pretrained(tmp_path / "model")  # from where the reference is loaded
    model = tf.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    before, nodes = copied(model), CASES[name][1]

    def reward(completions, **_):
        return [float(len(text)) for text in completions]

    with synkern.training_mask(model, nodes, of=kind(name)) as mask:
        given = trl.GRPOConfig(
            str(tmp_path / "out"),
            num_generations=4,
            max_completion_length=8,
            beta=beta,
            bf16=False,
            **COMMON,
        )
        data = datasets.Dataset.from_list([{"prompt": text} for text in texts(32, 4)])
        run = trl.GRPOTrainer(model, reward, given, train_dataset=data, processing_class=tokenizer)
        run.train()
        assert {id(p) for p in run.optimizer.state} == {id(p) for p in mask.parameters()}
    assert only_inside(before, model, name, nodes)


def test_adapters_that_a_trainer_of_trl_adds_are_refused(peft, trl, datasets, tokenizer, tmp_path):
    """They would train all heads."""
    model = made("llama")
    before = copied(model)
    with synkern.training_mask(model, HEADS):
        run = trl.SFTTrainer(
            model,
            trl.SFTConfig(str(tmp_path), max_length=16, bf16=False, **COMMON),
            train_dataset=answers(datasets),
            processing_class=tokenizer,
            peft_config=peft.LoraConfig(target_modules=["q_proj", "o_proj"], r=4),
        )
        with pytest.raises(TrainingMaskError, match="is new in the model; add adapters and other"):
            run.train()
    assert not any(c.any() for c in changes(before, run.model.merge_and_unload()).values())


@pytest.fixture
def adapted(peft):
    """Gives a model adapters of LoRA."""

    def wrapped(model, **options):
        options = {"target_modules": ["q_proj", "k_proj", "o_proj", "up_proj"], "r": 4} | options
        return peft.get_peft_model(model, peft.LoraConfig(**options))

    return wrapped


def test_under_lora_rows_of_b_and_columns_of_a_train(adapted):
    model = made("llama")
    before, loss = copied(model), loss_of(model)
    wrapped = adapted(model)
    trains = {name: p.requires_grad for name, p in wrapped.named_parameters()}
    with synkern.training_mask(wrapped, HEADS) as mask:
        assert torch.equal(loss_of(wrapped), loss)
        assert mask.trained == 3 * 4 * (16 + 16)
        factors = copied(wrapped)
        optimizer = torch.optim.AdamW(mask.parameters(), lr=1e-2, weight_decay=0.1)
        for _ in range(4):
            optimizer.zero_grad()
            loss_of(wrapped).backward()
            optimizer.step()
    expected = {key: torch.zeros(v.shape, dtype=bool) for key, v in factors.items()}
    for layer, heads in ((0, [1]), (2, [0, 2])):
        attention = f"base_model.model.model.layers.{layer}.self_attn"
        for head in heads:
            own = slice(16 * head, 16 * head + 16)
            expected[f"{attention}.q_proj.lora_B.default.weight"][own] = True
            expected[f"{attention}.o_proj.lora_A.default.weight"][:, own] = True
    assert all(torch.equal(c, expected[key]) for key, c in changes(factors, wrapped).items())
    assert {name: p.requires_grad for name, p in wrapped.named_parameters()} == trains
    assert only_inside(before, wrapped.merge_and_unload())


def test_under_lora_what_is_drawn_is_the_same_whichever_nodes_are_chosen(adapted):
    drawn = {}
    for nodes in ("L2H0", "L2H1"):
        model = made("llama")
        torch.manual_seed(5)
        wrapped = adapted(model)
        state = torch.get_rng_state()
        with synkern.training_mask(wrapped, nodes):
            assert torch.equal(torch.get_rng_state(), state)
        drawn[nodes] = copied(wrapped)
        b = drawn[nodes]["base_model.model.model.layers.2.self_attn.o_proj.lora_B.default.weight"]
        assert b.any()
    assert all(torch.equal(v, drawn["L2H1"][key]) for key, v in drawn["L2H0"].items())


def test_under_lora_keys_and_values_train_where_asked_for(adapted):
    wrapped = adapted(made("llama"), target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    before = copied(wrapped)
    with synkern.training_mask(wrapped, ["L1H0", "L1H1", "L1H2"], kv=True) as mask:
        assert mask.trained == 4 * (48 + 48 + 16 + 16)
        optimizer = torch.optim.AdamW(mask.parameters(), lr=1e-2)
        loss_of(wrapped).backward()
        optimizer.step()
    attention = "base_model.model.model.layers.1.self_attn"
    moved = {key for key, c in changes(before, wrapped).items() if c.any()}
    factors = [f"{part}_proj.lora_B" for part in "qkvo"] + ["o_proj.lora_A"]
    assert moved == {f"{attention}.{factor}.default.weight" for factor in factors}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gemma3", {}),
        ("gpt_neox", {"target_modules": ["query_key_value", "dense"]}),
        # whose weights are transposed
        ("gpt2", {"target_modules": ["c_attn", "attn.c_proj"], "fan_in_fan_out": True}),
    ],
)
def test_lora_of_other_models(name, options, adapted):
    model = made(name).eval()
    before, nodes = copied(model), CASES[name][1]
    wrapped = adapted(model, **options).eval()
    with synkern.training_mask(wrapped, nodes) as mask:
        optimizer = torch.optim.AdamW(mask.parameters(), lr=1e-2)
        for _ in range(2):
            optimizer.zero_grad()
            loss_of(wrapped).backward()
            optimizer.step()
    assert only_inside(before, wrapped.merge_and_unload(), name, nodes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target_modules": ["q_proj", "v_proj"]}, "o_proj.weight, .* has no adapter, though"),
        ({"use_dora": True}, "has an adapter that is a variant of LoRA"),
    ],
)
def test_adapters_of_which_nothing_belongs_to_one_head_are_refused(options, said, adapted):
    wrapped = adapted(made("llama"), **options)
    with pytest.raises(UnsupportedModelError, match=said):
        synkern.training_mask(wrapped, HEADS)
    wrapped = adapted(made("llama"))
    wrapped.add_adapter("second", wrapped.peft_config["default"])
    wrapped.base_model.set_adapter(["default", "second"])
    with pytest.raises(UnsupportedModelError, match="has an adapter that has 2 active adapters"):
        synkern.training_mask(wrapped, HEADS)


def test_a_trainer_goes_on_from_a_checkpoint_of_an_adapter(tmp_path, adapted):
    weights = []
    for resumed in (None, str(tmp_path / "checkpoint-2")):
        torch.manual_seed(0)
        wrapped = adapted(made("llama"))
        with synkern.training_mask(wrapped, HEADS):
            trainer(wrapped, tmp_path).train(resumed)
        weights.append(copied(wrapped))
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_supervised_training_of_trl_with_lora(trl, datasets, adapted, tokenizer, tmp_path):
    model = made("llama")
    before, wrapped = copied(model), adapted(model)
    with synkern.training_mask(wrapped, HEADS):
        given = trl.SFTConfig(str(tmp_path), max_length=16, bf16=False, **COMMON)
        trl.SFTTrainer(
            wrapped, given, train_dataset=answers(datasets), processing_class=tokenizer
        ).train()
    assert only_inside(before, wrapped.merge_and_unload())
