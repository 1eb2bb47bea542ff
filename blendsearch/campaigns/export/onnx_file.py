"""ONNX, by torch's exporter of torch.export programs; checked by onnx and onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from blendsearch.campaigns.export.checking import compared, quiet
from blendsearch.campaigns.export.program import dynamic_shapes, why_not
from blendsearch.campaigns.export.subject import Subject
from blendsearch.campaigns.export.written import Written
from blendsearch.errors import ExportError, first_line
from blendsearch.files import staged

INPUT, OUTPUT = "images", "outputs"


def write_onnx(subject: Subject, path: Path) -> Written:
    """Write the network as one ONNX file with its weights inside; what its metadata say is of the images it takes.

    Raises ExportError where the extra `export` is not installed, the network cannot be exported, or onnxruntime gives
    other outputs.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError as error:
        raise ExportError(f"export to onnx needs {error.name}; install blendsearch[export]") from None
    expected = subject.outputs()
    with staged(path.parent) as folder:
        file = folder / path.name
        with quiet():
            try:
                torch.onnx.export(
                    subject.network,
                    (subject.example,),
                    file,
                    dynamo=True,
                    external_data=False,
                    verbose=False,
                    input_names=[INPUT],
                    output_names=[OUTPUT],
                    dynamic_shapes=dynamic_shapes(subject),
                )
            except Exception as error:  # whatever an exporter raises
                raise ExportError(why_not(subject, "onnx", error)) from None
        model = onnx.load(file)
        onnx.helper.set_model_props(model, {"blendsearch": json.dumps(subject.about.to_dict())})
        onnx.save(model, file)
        try:
            onnx.checker.check_model(str(file), full_check=True)
        except Exception as error:
            raise ExportError(f"{path}: onnx finds it wrong ({first_line(error)[:200]})") from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, torch.get_num_threads()
        found = _run(onnxruntime, file, options, subject)
        difference, largest = compared(expected, found, f"{path}: the ONNX file in onnxruntime")
    return Written(
        files=(path,),
        difference=difference,
        largest_output=largest,
        checked=f"onnx.checker and onnxruntime {onnxruntime.__version__}",
        opset=next(one.version for one in model.opset_import if not one.domain),
    )


def _run(onnxruntime: object, file: Path, options: object, subject: Subject) -> list[Tensor]:
    session_of = getattr(onnxruntime, "InferenceSession")  # noqa: B009
    try:
        session = session_of(str(file), options, providers=["CPUExecutionProvider"])
        results = [session.run(None, {INPUT: images.numpy()})[0] for images in subject.trials]
    except Exception as error:
        raise ExportError(f"onnxruntime does not run the ONNX file ({first_line(error)[:200]})") from None
    return [torch.from_numpy(result) for result in results]
