"""T5 as a text encoder in half precision, whose largest numbers its layers exceed."""

import torch

from lora_scripts_ext.models.t5 import build_t5, widen_outputs

from . import flux, models


@torch.no_grad()
def test_layers_whose_outputs_fp16_cannot_hold_stay_wide():
    config = flux.t5().config.to_dict()
    model = build_t5(config)
    models.fill(model, torch.Generator().manual_seed(3))
    for block in model.encoder.block:
        # The real T5-XXL's activations pass 65504, fp16's largest number, here.
        weight = block.layer[1].DenseReluDense.wo.weight
        weight.copy_((1e5 * weight).half())
    tokens = torch.randint(3, 1000, (2, 8), generator=torch.Generator().manual_seed(1))
    expected = model(tokens)
    model.half()
    # transformers cuts infinite numbers off: the result is finite and wrong.
    assert (model(tokens).float() - expected).abs().max() > 0.1
    widen_outputs(model)
    assert {module.weight.dtype for name, module in model.named_modules() if name.endswith(".wo")} == {torch.float32}
    context = model(tokens)
    assert context.dtype is torch.float16
    torch.testing.assert_close(context.float(), expected, rtol=2e-2, atol=2e-2)
