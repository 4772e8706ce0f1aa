"""Prepares datasets: media and annotations to records that capjax trains on."""

import capjax  # noqa: F401 (makes the old paths of these modules importable)
