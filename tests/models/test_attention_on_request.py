"""Attention of every layer and head of decoders and encoders, and programs that do not compute it unless requested."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from capjax.models.captioner import Captioner
from capjax.models.decoders import DECODERS
from capjax.models.encoders import ENCODERS, encode_clip
from capjax.models.pure_model import PureModel
from capjax.models.stacked import unstack
from tests.helpers.drawn_models import draw_memory, draw_model, vision

B, M, L, N, D, V = 2, 3, 4, 5, 16, 11
DECODER_OPTIONS = {"transformer": {"layers": 2, "heads": 4}, "lstm": {}, "gru": {}}
ENCODER_OPTIONS = {
    "vit_tiny": {"width": 16, "depth": 2, "heads": 2, "class_token": True},
    "video_vit_tiny": {"width": 16, "depth": 2, "heads": 2},
}
VIT = ENCODER_OPTIONS["vit_tiny"]
ABOVE_VIT = {"name": "convlstm", "frame_encoder": "vit_tiny", "frame_options": VIT, "channels": 4}


def scanned_outputs(jaxpr) -> list[int]:
    """How many arrays each loop of a program stacks over its steps."""
    counts = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            counts.append(len(equation.outvars) - equation.params["num_carry"])
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    counts += scanned_outputs(inner)
    return counts


def shapes_of(jaxpr) -> set[tuple]:
    return {tuple(v.aval.shape) for equation in jaxpr.eqns for v in equation.outvars}


@pytest.fixture(params=DECODER_OPTIONS)
def decoder(request):
    return draw_model(
        lambda key: DECODERS.make(
            request.param, vocab=V, width=D, max_len=L, rngs=nnx.Rngs(key), **DECODER_OPTIONS[request.param]
        )
    )


def test_teacher_forcing_stacks_no_attention_unless_requested(decoder):
    tokens, memory = jnp.zeros((B * M, L), jnp.int32), draw_memory(B, N, D)

    def program(**options):
        return jax.make_jaxpr(lambda: decoder(tokens, memory, **options).logits)().jaxpr

    (plain,), (requested,) = (scanned_outputs(program(**o)) for o in ({}, {"return_attention": True}))
    assert requested == plain + 1


def test_a_step_gathers_no_attention_unless_requested(decoder):
    fixed, state = decoder.init_cache(draw_memory(B, N, D), M, L)

    def program(**options):
        step = lambda: decoder.step(jnp.zeros((B, M), jnp.int32), jnp.int32(0), fixed, state, **options)  # noqa: E731
        return shapes_of(jax.make_jaxpr(step)().jaxpr)

    layers, heads = (2, 4) if hasattr(decoder, "blocks") else (1, 1)
    gathered = (layers, B, M, heads, N)
    assert gathered not in program() and gathered in program(return_attention=True)
    assert decoder.step(jnp.zeros((B, M), jnp.int32), jnp.int32(0), fixed, state)[2] is None


@pytest.fixture(params=ENCODER_OPTIONS)
def encoder(request):
    def make(key):
        return ENCODERS.make(request.param, image_size=16, rngs=nnx.Rngs(key), **ENCODER_OPTIONS[request.param])

    return draw_model(make)


def test_an_encoder_stacks_no_attention_unless_requested(encoder):
    clip = np.zeros((B, 2, 16, 16, 3), np.uint8), np.zeros((B, 2), np.float32), np.ones((B, 2), bool)

    def program(**options):
        return scanned_outputs(jax.make_jaxpr(lambda: encode_clip(encoder, *clip, **options)[0])().jaxpr)

    assert program() == [0] and program(return_attention=True)[0] > 0


def test_the_attention_of_a_vit_is_that_of_each_image_with_the_class_token_first():
    encoder = draw_model(lambda key: ENCODERS.make("vit_tiny", image_size=16, rngs=nnx.Rngs(key), **VIT))
    frames = np.random.default_rng(0).integers(0, 256, (B, 3, 16, 16, 3)).astype(np.uint8)
    times, mask = np.zeros((B, 3), np.float32), np.ones((B, 3), bool)

    @nnx.jit
    def run(encoder):
        features, _, _, attention = encode_clip(encoder, frames, times, mask, return_attention=True)
        x = encoder._tokens(frames[1, 2][None])
        x = jnp.concatenate([encoder.class_token[...][None, None], x], axis=1)
        block = unstack(encoder.blocks, 2)[0]
        query, key, _ = block.attention.project(block.attention_norm(x))
        scores = jnp.einsum("bhqk,bhnk->bhqn", query, key) / query.shape[-1] ** 0.5
        return features, encode_clip(encoder, frames, times, mask)[0], attention, jnp.exp(scores)

    features, plain, attention, scores = run(encoder)
    np.testing.assert_allclose(features, plain, atol=1e-5)
    assert attention.time is None and attention.class_token
    assert attention.space.shape == (2, B, 2, 3, 1 + 4, 1 + 4)  # layers, b, heads, t, n, n
    np.testing.assert_allclose(attention.space.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(attention.space[0, 1, :, 2], (scores / scores.sum(-1, keepdims=True))[0], rtol=1e-4)


@pytest.mark.parametrize("encoder", [{"name": "vit_tiny", **VIT}, ABOVE_VIT])
def test_a_captioner_gives_the_attention_of_a_vit_by_the_name_of_the_encoder(encoder):
    pure_model = PureModel.of(
        lambda key: Captioner(
            vocab=V, width=D, max_len=L, image_size=16, rngs=nnx.Rngs(key), decoder={"name": "gru"},
            encoders=vision(encoder),
        )
    )  # fmt: skip
    batch = {
        "frames": np.zeros((B, 3, 16, 16, 3), np.uint8),
        "frame_times": np.zeros((B, 3), np.float32),
        "frame_mask": np.ones((B, 3), bool),
    }
    attention = jax.eval_shape(
        lambda params: pure_model.bind(params, {}).encoder_attention(batch), pure_model.shapes
    )  # fmt: skip
    assert attention.keys() == {"vision"} and attention["vision"].space.shape == (2, B, 2, 3, 5, 5)
