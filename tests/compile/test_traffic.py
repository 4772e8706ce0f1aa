import pytest

from capjax.compile.hlo import Program
from capjax.compile.traffic import arrays_in_memory, bytes_moved, in_memory

FUSED = """HloModule m

%read (stack: f32[12,1000], i: s32[]) -> f32[1000] {
  %stack = f32[12,1000]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %zero = s32[] constant(0)
  %part = f32[1,1000]{1,0} dynamic-slice(%stack, %i, %zero), dynamic_slice_sizes={1,1000}
  ROOT %flat = f32[1000]{0} bitcast(%part)
}

ENTRY %main (a: f32[12,1000], n: s32[]) -> f32[1000] {
  %a = f32[12,1000]{1,0} parameter(0)
  %n = s32[]S(2) parameter(1)
  ROOT %out = f32[1000]{0} fusion(%a, %n), kind=kLoop, calls=%read
}
"""


def test_of_a_stack_only_the_part_that_is_read_counts():
    assert bytes_moved(Program.parse(FUSED)) == pytest.approx(2 * 4000, abs=8)


def test_arrays_that_stay_on_the_chip_do_not_count():
    text = FUSED.replace("ROOT %out = f32[1000]{0} fusion", "ROOT %out = f32[1000]{0:S(1)} fusion")
    text = text.replace("ROOT %flat = f32[1000]{0} bitcast", "ROOT %flat = f32[1000]{0:S(1)} bitcast")
    assert bytes_moved(Program.parse(text)) == pytest.approx(4000, abs=8)


def test_nor_does_the_rest_of_a_stack_where_a_fusion_within_a_fusion_reads_its_part():
    outer = """%outer (all: f32[12,1000], j: s32[]) -> f32[1000] {
  %all = f32[12,1000]{1,0} parameter(0)
  %j = s32[] parameter(1)
  %same = f32[12,1000]{1,0} bitcast(%all)
  %inner = f32[1000]{0} fusion(%same, %j), kind=kLoop, calls=%read
  ROOT %twice = f32[1000]{0} add(%inner, %inner)
}

ENTRY"""
    text = FUSED.replace("ENTRY", outer, 1).replace("kind=kLoop, calls=%read\n}\n", "kind=kLoop, calls=%outer\n}\n")
    assert bytes_moved(Program.parse(text)) == pytest.approx(2 * 4000, abs=8)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ("bf16[2,196,64]{2,1,0:T(8,128)(2,1)}", 2 * 200 * 128 * 2),
        ("bf16[2,196,64]{1,2,0:T(8,128)(2,1)}", 2 * 256 * 64 * 2),
        ("(f32[1000]{0:T(1024)}, f32[16,128]{1,0:T(8,128)S(1)})", 1024 * 4),
        ("f32[16,3]{1,0}", 16 * 3 * 4),
    ],
)
def test_arrays_fill_the_tiles_that_they_lie_in(shape, size):
    assert in_memory(shape) == size


def test_each_array_of_a_tuple_has_its_own_size():
    shape = "(f32[], bf16[3072]{0:T(1024)}, (s32[8,128]{1,0:T(8,128)}, f32[64]{0:T(128)S(1)}))"
    assert arrays_in_memory(shape) == [("bf16[3072]", 6144), ("s32[8,128]", 4096)]
