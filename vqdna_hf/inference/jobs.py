# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Moved to `vqdna_hf.data.jobs`: import from there."""

from vqdna_hf.data.jobs import (
    UNIT_BASES as UNIT_BASES,
    DiskFullError as DiskFullError,
    JobReport as JobReport,
    bases_bar as bases_bar,
    collect as collect,
    identities as identities,
    input_files as input_files,
    input_identity as input_identity,
    process_place as process_place,
    run_job as run_job,
    unit_bases as unit_bases,
)
