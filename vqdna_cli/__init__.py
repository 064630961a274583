# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The command line of `vqdna_hf`; imports nothing heavy until a verb runs."""
