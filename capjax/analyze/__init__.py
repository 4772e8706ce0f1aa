"""Errors and bias of predicted captions, without JAX.

>>> from capjax.analyze.analysis import Inputs, analyze
>>> analyze(Inputs(Path("predictions.json"), Path("captions_val.json"))).frequencies["hallucinated object"].share
"""
