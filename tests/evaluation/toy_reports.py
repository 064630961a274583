"""A codec whose codes are known by hand, for the tests of reports."""

from pathlib import Path

import torch

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
from vqdna_hf.data.fasta import decode_ids
from vqdna_hf.data.simulate import simulate_genome

SIZE = 8


def toy_codec(look: int = 0, *, stride: int = 1, levels: int = 1) -> VQDNACodecModel:
    """Code 0 to 3 is the base A, C, G, T that stands `look` bases behind a code's own (first) one; 4 to 7 never occur.

    Its kernels are 5 and 3 wide, so the level tapped at block t sees 2 + stride * t bases on each side.
    """
    config = VQDNACodecConfig(
        hidden_size=4, stem_size=4, codebook_dim=4, expansion=1, kernel_size=3, codec_stride=stride,
        num_blocks=levels, tap_positions=[*range(1, levels + 1)], codebook_sizes=[SIZE] * levels,
    )  # fmt: skip
    codec = VQDNACodecModel(config).eval()
    encoder = codec.encoder
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
        encoder.stem.weight[range(4), range(4), 2 + look] = 1
        for norm in (encoder.stem_norm, *encoder.tap_norms):
            norm.weight.fill_(1)
        encoder.stem_projection.weight[:, :4] = torch.eye(4)  # of a patch, the first base's channels
        for projection in encoder.tap_projections:
            projection.weight.copy_(torch.eye(4))
        alike = torch.arange(5, 9).unsqueeze(1).repeat(1, 6 * stride)  # AAAA..., CCCC..., GGGG..., TTTT...
        own = encoder.latents(alike)[0][0][:, 2]
        for book in encoder.quantizer.codebooks:
            book.embed.copy_(torch.cat([own, own + 50]))
            book.initialized.fill_(1)
    return codec


def toy_genome(path: Path, bases: int = 6_000) -> str:
    """Write a genome of one record, `chrI`; its sequence is returned."""
    sequence = decode_ids(simulate_genome(bases, seed=3))
    path.write_text(f">chrI\n{sequence}\n")
    return sequence
