"""From the folder of a finished run to a folder for the Hub."""

from pathlib import Path

from vqdna_hf.model.modeling_vqdna_codec import VQDNACodecModel
from vqdna_hf.training import load_pretrained
from vqdna_hf.training.saved import merge_adapter, saved_class

from .export import check_export_folder, export
from .publishable import read_config


def export_run(run: str | Path, folder: str | Path, codec: str | Path | None = None) -> str:
    """Write the model that a run saved as a Hub folder, in the class that it was saved from.

    Args:
        run: `--output_dir` of a script in `examples/`, or one of its checkpoints: a codec, or a model with any head.
            Adapters are merged into their base.
        folder: of the export; an earlier export in this place is replaced. A card in the run (`README.md`) goes along,
            but not the one that PEFT writes beside adapters.
        codec: the run of stage 1 that a language model was made from; see `export`.

    Returns:
        The name of the model's class.

    Raises:
        ValueError: if `run` holds no whole model of this package, or `folder` is in use for something else.

    Example:

    >>> export_run("no/such/run", "vqdna-hrq")
    Traceback (most recent call last):
    ValueError: no/such/run: no such folder
    """
    run = Path(run)
    if not run.is_dir():
        raise ValueError(f"{run}: no such folder")
    check_export_folder(folder)  # before the weights are read
    card = run / "README.md"
    text = card.read_text() if card.is_file() else None
    if (run / "adapter_config.json").is_file():
        model, text = merge_adapter(run), None
    else:
        model = load_pretrained(saved_class(run / "config.json", read_config(run)), run)
    whole_codec = None if codec is None else load_pretrained(VQDNACodecModel, codec)
    export(model, folder, text, codec=whole_codec)
    return type(model).__name__
