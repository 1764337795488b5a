"""A model of rembg's kind, of a few bytes."""

from importlib.util import find_spec
from pathlib import Path

import pytest

#: Importing rembg to see whether it is there would change the number of threads for the tests that follow.
needs_rembg = pytest.mark.skipif(find_spec("rembg") is None, reason="rembg is not installed")


def write(folder: Path) -> None:
    """Into this new folder, the default model, which takes what is dark for the product."""
    import onnx
    from onnx import TensorProto, helper

    from lora_scripts_ext.keeping import segmentation

    side = 1024
    pixels = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, side, side])
    mask = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, side, side])
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["light"]),
        helper.make_node("Mul", ["light", "steep"], ["darkness"]),
        helper.make_node("Sigmoid", ["darkness"], ["output"]),
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    steep = helper.make_tensor("steep", TensorProto.FLOAT, [1], [-50])
    graph = helper.make_graph(nodes, "darkness", [pixels], [mask], [axes, steep])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    folder.mkdir()
    onnx.save(model, folder / f"{segmentation.DEFAULT}.onnx")
