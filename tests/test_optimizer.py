"""Each optimizer at its defaults, and the sentences about arguments it does not take."""

import importlib
import inspect

import pytest
import torch
from torch import Tensor

from lora_scripts_ext import config as configs
from lora_scripts_ext import config_optimizer
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.training import notices, optimizer, schedule

NEEDED = {"train_data_dir": "images", "base_model": "model.safetensors", "output_dir": "out"}
SIDE, RANK, LAYERS = 16, 4, 2


def make(**changes: object) -> configs.Config:
    return configs.from_dict(NEEDED | changes)


class Toy:
    """Frozen layers with a LoRA each, in the flat buffers that an adapter has; they shall become a second set of
    layers, whose difference has the LoRA's rank."""

    def __init__(self, seed: int, text: bool = False) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.frozen = [self._normal(SIDE, SIDE) / SIDE**0.5 for _ in range(LAYERS)]
        self.target_layers = [
            one + 0.3 * self._normal(SIDE, RANK) @ self._normal(RANK, SIDE) / SIDE for one in self.frozen
        ]
        count = LAYERS * 2 * RANK * SIDE
        self.weights = torch.zeros(2, count) if text else torch.zeros(1, count)
        for part in self.weights:
            for layer in range(LAYERS):
                part[self._slice(layer)] = (self._normal(RANK * SIDE)) / SIDE**0.5
        self.parts = {
            name: torch.nn.Parameter(flat) for name, flat in zip(("unet", "text"), self.weights, strict=False)
        }

    def groups(self) -> dict[str, torch.nn.Parameter]:
        return self.parts

    def tensors(self) -> dict[str, list[torch.nn.Parameter]]:
        return {name: [part] for name, part in self.parts.items()}

    def refresh(self) -> None:
        """Nothing is kept in another precision."""

    def loss(self, count: int = 64, random: torch.Generator | None = None) -> Tensor:
        images = torch.randn(count, SIDE, generator=random or self.random)
        return sum((self._learned(images, part) - self._target(images)).square().mean() for part in self.parts.values())

    def _target(self, images: Tensor) -> Tensor:
        for layer in self.target_layers:
            images = torch.tanh(images @ layer.T)
        return images

    def _learned(self, images: Tensor, part: Tensor) -> Tensor:
        for number, layer in enumerate(self.frozen):
            down = part[self._slice(number)].view(RANK, SIDE)
            up = part[self._slice(number, RANK * SIDE)].view(SIDE, RANK)
            images = torch.tanh(images @ layer.T + images @ down.T @ up.T)
        return images

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.random)

    @staticmethod
    def _slice(layer: int, offset: int = 0) -> slice:
        first = layer * 2 * RANK * SIDE + offset
        return slice(first, first + RANK * SIDE)


def held_out(toy: Toy) -> float:
    with torch.no_grad():
        return toy.loss(256, torch.Generator().manual_seed(99)).item()


def train(config: configs.Config, toy: Toy, steps: int) -> float:
    """The loss after ``steps`` steps, as a share of the loss before."""
    built = optimizer.build(config, toy)
    optimizer.start(built)
    before = held_out(toy)
    for step in range(steps):
        for part in toy.parts.values():
            part.grad = None
        toy.loss(8).backward()
        optimizer.set_rates(built, schedule.factor(config, step, steps))
        built.step()
    if hasattr(built, "eval"):
        built.eval()
    return held_out(toy) / before


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    ("name", "package", "most"),
    [("prodigy", "prodigyopt", 0.5), ("schedulefree", "schedulefree", 0.9), ("lion", "lion_pytorch", 0.97)],
)
def test_an_optimizer_reduces_the_loss_at_its_defaults(name, package, most, seed):
    pytest.importorskip(package)
    assert train(make(optimizer=name), Toy(seed), 300) < most


@pytest.mark.parametrize(
    ("name", "rate", "scheduler"),
    [
        ("adamw", 1e-4, "cosine"),
        ("prodigy", 1.0, "constant"),
        ("schedulefree", 5e-4, "constant"),
        ("lion", 3e-5, "cosine"),
    ],
)
def test_an_optimizer_gets_suitable_defaults_unless_set(name, rate, scheduler, tmp_path):
    config = make(optimizer=name)
    assert (config.learning_rate, config.lr_scheduler) == (rate, scheduler)
    explicit = make(optimizer=name, learning_rate="2e-3", lr_scheduler="linear")
    assert (explicit.learning_rate, explicit.lr_scheduler) == (2e-3, "linear")
    assert (make(optimizer=name, learning_rate=None).learning_rate) == rate
    for one in (config, explicit):
        path = tmp_path / "again.yaml"
        path.write_text(one.to_yaml(), encoding="utf-8")
        assert configs.load(path) == one
    assert "learning_rate" not in config.to_yaml()


def test_prodigy_trains_a_text_encoder_at_its_share_of_the_rate():
    """Prodigy takes one rate for all: the weights of the text encoder are scaled while it steps. A share of 1 and of
    a power of two round alike, so a step of the one is the exact share of a step of the other."""
    pytest.importorskip("prodigyopt")
    moved = {}
    for share in (1.0, 0.25):
        toy = Toy(5, text=True)
        config = make(optimizer="prodigy", train_text_encoder=True, text_encoder_lr=share)
        before = toy.parts["text"].detach().clone()
        built = optimizer.build(config, toy)
        toy.loss(8).backward()
        built.step()
        moved[share] = toy.parts["text"].detach() - before
        assert {group["lr"] for group in built.param_groups} == {1.0}
    grown = moved[1.0].abs() > 1e-9
    assert grown.any()
    torch.testing.assert_close(moved[0.25][grown], moved[1.0][grown] * 0.25, rtol=0.05, atol=1e-8)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_prodigy_reduces_the_loss_with_a_text_encoder_at_its_default_share(seed):
    pytest.importorskip("prodigyopt")
    assert train(make(optimizer="prodigy", train_text_encoder=True), Toy(seed, text=True), 300) < 0.7


@pytest.mark.parametrize(
    ("name", "module", "kind"),
    [
        ("adamw", "torch.optim", "AdamW"),
        ("lion", "lion_pytorch", "Lion"),
        ("prodigy", "prodigyopt", "Prodigy"),
        ("schedulefree", "schedulefree", "AdamWScheduleFree"),
        ("adafactor", "transformers.optimization", "Adafactor"),
    ],
)
def test_the_arguments_are_those_of_the_package(name, module, kind):
    signature = inspect.signature(getattr(pytest.importorskip(module), kind))
    assert set(config_optimizer.ARGUMENTS[name]) <= set(signature.parameters)


@pytest.mark.parametrize(
    ("name", "arguments", "read"),
    [
        ("adamw", {"betas": "0.9,0.99", "eps": "1e-6"}, {"betas": [0.9, 0.99], "eps": 1e-6}),
        ("adamw", {"amsgrad": "True"}, {"amsgrad": True}),
        ("adamw", {"betas": (0.9, 0.99)}, {"betas": [0.9, 0.99]}),
        ("adamw", ["betas=(0.9, 0.99)"], {"betas": [0.9, 0.99]}),
        ("adamw", {"betas": ["0.9", "0.99"], "eps": None}, {"betas": [0.9, 0.99]}),
        ("prodigy", {"d_coef": 2, "decouple": "true", "slice_p": "11"}, {"d_coef": 2, "decouple": True, "slice_p": 11}),
        ("adafactor", {"eps": [1e-30, 1e-3], "relative_step": False}, {"eps": [1e-30, 1e-3], "relative_step": False}),
    ],
)  # fmt: skip
def test_arguments_are_read_as_they_are_meant(name, arguments, read):
    config = make(optimizer=name, optimizer_args=arguments)
    assert config.optimizer_args == read
    if name != "adafactor":
        optimizer.build(config, Toy(1)).step()


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("adamw", {"betas": "fast"}, "betas in optimizer_args is 'fast', expected two numbers"),
        ("adamw", {"betas": 0.9}, "betas .* expected two numbers"),
        ("adamw", {"betas": [0.9, 1.0]}, "betas .* expected two numbers"),
        ("adamw", {"betas": [0.9, -0.1]}, "betas .* expected two numbers"),
        ("adamw", {"betas": [0.9, 0.99, 0.999]}, "betas .* expected two numbers"),
        ("adamw", {"betas": [True, 0.9]}, "betas .* expected two numbers"),
        ("adamw", {"betas": {"a": 1}}, "betas .* expected two numbers"),
        ("adamw", {"eps": -1}, "eps .* expected a number above 0"),
        ("adamw", {"eps": True}, "eps .* expected a number above 0"),
        ("adamw", {"eps": float("nan")}, "eps .* expected a number above 0"),
        ("adamw", {"amsgrad": 1}, "amsgrad .* expected true or false"),
        ("adamw", {"beta": [0.9, 0.99]}, "holds beta, which adamw does not take; did you mean betas"),
        ("adamw", {"d_coef": 2}, "it takes amsgrad, betas, eps, weight_decay"),
        ("adamw", {"lr": 1e-3}, "write learning_rate instead"),
        ("adamw", {"weight_decay": "a"}, "weight_decay .* expected a number"),
        ("adamw", ["betas"], "write each as NAME=VALUE"),
        ("adamw", ["eps=1e-6", "eps=1e-5"], "holds eps twice"),
        ("schedulefree", {"betas": [0, 0.9]}, "two numbers above 0"),
        ("schedulefree", {"warmup_steps": 10}, "write lr_warmup_steps instead"),
        ("adafactor", {"relative_step": True}, "false, because learning_rate and lr_scheduler set the rate"),
        ("lion", {"betas": [0.9, 2]}, "betas .* expected two numbers"),
        ("prodigy", {"slice_p": 0.5}, "slice_p .* expected a whole number"),
        ("prodigy", {"growth_rate": 0.5}, "growth_rate .* at least 1"),
    ],
)
def test_an_argument_of_a_wrong_kind_gets_a_sentence(name, arguments, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        make(optimizer=name, optimizer_args=arguments)
    assert "\n" not in str(error.value)


def test_weight_decay_is_set_once():
    assert make(optimizer_args={"weight_decay": 0.1}).weight_decay == 0.1
    assert make(optimizer_args={"weight_decay": 0.1}, weight_decay="0.1").weight_decay == 0.1
    with pytest.raises(UserError, match=r"weight_decay is 0\.2 and 0\.1 in optimizer_args"):
        make(optimizer_args={"weight_decay": 0.1}, weight_decay=0.2)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"optimizer": "prodigy", "learning_rate": 1e-4}, "learns almost nothing; leave learning_rate out"),
        ({"optimizer": "adamw", "learning_rate": 1.0}, "far above what suits adamw"),
        ({"optimizer": "lion", "learning_rate": 1e-3}, "far above what suits lion"),
        ({"learning_rate": 1e-9}, "learns next to nothing"),
        ({"optimizer": "schedulefree", "lr_scheduler": "cosine"}, "leave lr_scheduler out"),
        ({"text_encoder_lr": 1e-5}, "text_encoder_lr has no effect"),
        (
            {"optimizer": "prodigy", "train_text_encoder": True, "text_encoder_lr": 1e-5},
            "the text encoder learns next to nothing",
        ),
        ({"lr_warmup_steps": 500}, "the run has 100 steps: the warm-up is reduced to 10"),
        ({"lr_warmup_steps": 100}, "the warm-up is reduced to 10"),
        ({"cache_latents": True}, "ignored, because it changes nothing here"),
    ],
)
def test_what_will_not_work_well_is_warned_of(changes, sentence):
    (warning,) = notices.of(make(**changes), 100)
    assert sentence in warning


@pytest.mark.parametrize(
    "changes",
    [
        {"lr_warmup_steps": 99},
        {"lr_warmup_steps": 0.5},
        {"optimizer": "prodigy", "lr_scheduler": "cosine", "train_text_encoder": True},
        {"optimizer": "lion", "learning_rate": 1e-4},
        {"optimizer": "adafactor"},
        {"learning_rate": 4e-3, "train_text_encoder": True, "text_encoder_lr": 1e-5},
    ],
)
def test_what_works_gets_no_warning(changes):
    assert notices.of(make(**changes), 100) == []


@pytest.mark.parametrize(
    ("warmup", "total", "steps"), [(5, 100, 5), (0.1, 200, 20), (300, 100, 10), (50, 3, 0), (0, 0, 0)]
)
def test_a_warm_up_fits_its_run(warmup, total, steps):
    config = make(lr_warmup_steps=warmup, lr_scheduler="constant")
    assert schedule.warmup_steps(config, total) == steps
    factors = [schedule.factor(config, step, total) for step in range(total)]
    assert factors == [min(1.0, step / steps) if steps else 1.0 for step in range(total)]


@pytest.mark.parametrize("package", ["bitsandbytes", "prodigyopt"])
def test_a_missing_package_is_named(monkeypatch, package):
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    name = {"bitsandbytes": "adamw8bit", "prodigyopt": "prodigy"}[package]
    with pytest.raises(UserError, match=f"pip install {package}"):
        optimizer.build(make(optimizer=name), Toy(1))
