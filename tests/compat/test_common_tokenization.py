# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""`TokenizerTesterMixin` of the installed Transformers against the nucleotide tokenizer.

The mixin's texts are English: the tokenizer is run with `refuse_unknown=False`, which changes nothing but that.
"""

import shutil
import tempfile
import unittest
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from vqdna_hf import VQDNATokenizer, build_tokenizer

pytest.importorskip("transformers_tests", reason="Transformers' own tests are fetched and run by `make compat`")

from transformers_tests.test_tokenization_common import TokenizerTesterMixin


class TokenizerTest(TokenizerTesterMixin, unittest.TestCase):
    """The nucleotide tokenizer."""

    tokenizer_class = VQDNATokenizer
    rust_tokenizer_class = VQDNATokenizer
    test_seq2seq = False
    from_pretrained_kwargs: dict[str, Any] = {}

    @classmethod
    def setUpClass(cls) -> None:
        """A saved tokenizer is the checkpoint that the mixin starts from."""
        cls.saved = tempfile.mkdtemp()
        build_tokenizer(refuse_unknown=False).save_pretrained(cls.saved)
        cls.from_pretrained_id = [cls.saved]
        super().setUpClass()

    @classmethod
    def tearDownClass(cls) -> None:
        """Leave nothing behind."""
        super().tearDownClass()
        shutil.rmtree(cls.saved, ignore_errors=True)

    def get_input_output_texts(self, tokenizer: Any) -> tuple[str, str]:
        """What goes in and what comes out again; the mixin would join letters by spaces, which are none of ours."""
        return "acgtn", "ACGTN"


class StockTokenizerTest(TokenizerTest):
    """The same files, read by the stock class, as somebody does who trusts no code."""

    tokenizer_class = PreTrainedTokenizerFast
    rust_tokenizer_class = PreTrainedTokenizerFast
