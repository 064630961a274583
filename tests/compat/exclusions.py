# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Which of Transformers' common tests cannot pass here, each with its reason: (class, test) -> reason."""

_REFUSED = (
    "it empties the weights file and wants the model back with random weights: here a folder without its tensors is "
    "refused, by name"
)
_TOO_LONG = (
    "it reads past max_position_embeddings without scaled rotary positions, which is refused here; with scaling it "
    "is allowed (tests/model/test_language_model.py)"
)

EXCLUDED: dict[tuple[str, str], str] = {
    ("LanguageModelTest", "test_model_weights_reload_no_missing_tied_weights"): _REFUSED,
    ("CodecTest", "test_model_weights_reload_no_missing_tied_weights"): _REFUSED,
    ("LanguageModelTest", "test_model_rope_scaling_from_config_0_linear"): _TOO_LONG,
    ("LanguageModelTest", "test_model_rope_scaling_from_config_1_dynamic"): _TOO_LONG,
    ("LanguageModelTest", "test_model_rope_scaling_from_config_2_yarn"): _TOO_LONG,
    ("LanguageModelTest", "test_inputs_embeds_matches_input_ids"): (
        "it looks the embeddings up in a table by id: here a nucleotide's vector depends on its neighbours"
    ),
    ("CodecTest", "test_model_get_set_embeddings"): "nucleotides enter the codec as one-hot vectors: there is no table",
}
