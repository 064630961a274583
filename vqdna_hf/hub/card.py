"""Model cards written from the results of a run: what was not measured cannot get in."""

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import ModelCardData

_CITATION = """@inproceedings{li2024vqdna,
  title={VQDNA: Unleashing the Power of Vector Quantization for Multi-Species Genomic Sequence Modeling},
  author={Li, Siyuan and Wang, Zedong and Liu, Zicheng and Wu, Di and Tan, Cheng and Zheng, Jiangbin and
          Huang, Yufei and Li, Stan Z.},
  booktitle={International Conference on Machine Learning},
  year={2024}
}"""


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; floats are shown with four digits.

    >>> print(markdown_table(["level", "usage"], [[1, 0.5]]))
    | level | usage |
    |---|---|
    | 1 | 0.5000 |
    """

    def show(value: Any) -> str:
        return f"{value:.4f}" if isinstance(value, float) else str(value)

    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    return "\n".join(lines + [f"| {' | '.join(show(value) for value in row)} |" for row in rows])


def write_card(
    name: str,
    template: str,
    *,
    summary: str,
    data: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    values: Mapping[str, Any],
) -> str:
    """Fill a card's template.

    Args:
        name: of the model.
        template: Markdown with `{name}`, `{summary}`, `{data}`, `{results}`, `{citation}` and the keys of `values`.
        summary: one paragraph: what the model is and what it was trained on.
        data: rows with equal keys: the sequences it saw.
        results: rows with the keys `metric`, `value`, `measured on`.
        values: further fields of the template.

    Returns:
        The card: YAML front matter and text.

    Raises:
        ValueError: if the template has a field that nothing fills, or no result is given.
    """
    if not results:
        raise ValueError("a card without a measured result says nothing: pass results")
    metadata = ModelCardData(
        language="dna",
        license="apache-2.0",
        library_name="transformers",
        tags=["dna", "genomics", "vq-vae", "custom_code"],
        model_name=name,
    )
    tables = {
        key: markdown_table(list(rows[0]), [list(row.values()) for row in rows]) if rows else "none"
        for key, rows in (("data", data), ("results", results))
    }
    fields = {"name": name, "summary": summary, "citation": _CITATION, **tables, **values}
    try:
        body = template.format_map(fields)
    except KeyError as error:
        raise ValueError(f"the card's template asks for {error}, which the run does not give") from error
    return f"---\n{metadata.to_yaml()}\n---\n\n{body}"
