import pytest

from capjax.compile.hlo import HloProgram
from capjax.compile.memory_traffic import arrays_in_memory, bytes_moved, in_memory

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


def test_only_the_part_of_a_stack_that_is_read_counts():
    assert bytes_moved(HloProgram.parse(FUSED)) == pytest.approx(2 * 4000, abs=8)


def test_arrays_in_on_chip_memory_do_not_count():
    text = FUSED.replace("ROOT %out = f32[1000]{0} fusion", "ROOT %out = f32[1000]{0:S(1)} fusion")
    text = text.replace("ROOT %flat = f32[1000]{0} bitcast", "ROOT %flat = f32[1000]{0:S(1)} bitcast")
    assert bytes_moved(HloProgram.parse(text)) == pytest.approx(4000, abs=8)


def test_a_nested_fusion_counts_only_the_part_that_it_reads():
    outer = """%outer (all: f32[12,1000], j: s32[]) -> f32[1000] {
  %all = f32[12,1000]{1,0} parameter(0)
  %j = s32[] parameter(1)
  %same = f32[12,1000]{1,0} bitcast(%all)
  %inner = f32[1000]{0} fusion(%same, %j), kind=kLoop, calls=%read
  ROOT %twice = f32[1000]{0} add(%inner, %inner)
}

ENTRY"""
    text = FUSED.replace("ENTRY", outer, 1).replace("kind=kLoop, calls=%read\n}\n", "kind=kLoop, calls=%outer\n}\n")
    assert bytes_moved(HloProgram.parse(text)) == pytest.approx(2 * 4000, abs=8)


MOVED = """HloModule m

ENTRY %main (a: f32[1536,6144]) -> f32[384,6144] {
  %a = f32[1536,6144]{1,0:T(8,128)} parameter(0)
  %s = RESULT
  ROOT %d = f32[384,6144]{1,0:T(8,128)S(1)} DONE(%s)
}
"""


@pytest.mark.parametrize(
    ("result", "size"),
    [
        ("((f32[1536,6144]{1,0:T(8,128)}), f32[384,6144]{1,0:T(8,128)S(1)}, s32[]{:S(2)}) slice-start(%a)", 1),
        ("((f32[1536,6144]{1,0:T(8,128)}), f32[384,6144]{1,0:T(8,128)}, s32[]{:S(2)}) slice-start(%a)", 2),
        ("(f32[384,6144]{1,0:T(8,128)S(1)}, f32[384,6144]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%a)", 1),
        ("(f32[384,6144]{1,0:T(8,128)}, f32[384,6144]{1,0:T(8,128)S(1)}, u32[]{:S(2)}) copy-start(%a)", 1),
    ],
)
def test_copies_and_slices_between_memories_count_the_part_that_moves(result, size):
    text = MOVED.replace("RESULT", result).replace("DONE", result.split()[-1].split("-")[0] + "-done")
    assert bytes_moved(HloProgram.parse(text)) == size * 384 * 6144 * 4


def test_only_the_gathered_rows_of_a_table_count():
    text = FUSED.replace(
        "%part = f32[1,1000]{1,0} dynamic-slice(%stack, %i, %zero)", "%part = f32[1,1000]{1,0} gather(%stack, %i)"
    )
    assert "gather" in text
    assert bytes_moved(HloProgram.parse(text)) == pytest.approx(2 * 4000, abs=8)


STEP = """HloModule m

%step (x: f32[1000], part: f32[100], whole: f32[1600], token: s32[]) -> (f32[1000], f32[100], f32[1600], s32[]) {
  %x = f32[1000]{0} parameter(0)
  %own = f32[1000]{0} multiply(%x, %x)
  %part = f32[100]{0} parameter(1)
  %whole = f32[1600]{0} parameter(2)
  %token = s32[]{:S(2)} parameter(3)
  %gathered = f32[1600]{0} all-gather(%part), channel_id=1, replica_groups=[1,16]<=[16], dimensions={0}
  DONE
  ROOT %out = (f32[1000]{0}, f32[100]{0}, f32[1600]{0}, s32[]{:S(2)}) tuple(%own, %part, %gathered, %token)
}

ENTRY %main (a: f32[1000], p: f32[100], w: f32[1600], t: s32[]) -> (f32[1000], f32[100], f32[1600], s32[]) {
  %a = f32[1000]{0} parameter(0)
  %p = f32[100]{0} parameter(1)
  %w = f32[1600]{0} parameter(2)
  %t = s32[]{:S(2)} parameter(3)
  ROOT %f = (f32[1000]{0}, f32[100]{0}, f32[1600]{0}, s32[]{:S(2)}) fusion(%a, %p, %w, %t), kind=kCustom, calls=%step
}
"""


def test_a_collective_moved_along_by_fusions_counts_once_at_its_end():
    step = HloProgram.parse(STEP.replace("DONE", ""))
    done = HloProgram.parse(
        STEP.replace("DONE", '%d = s32[]{:S(2)} custom-call(), custom_call_target="AsyncCollectiveDone"')
    )
    assert bytes_moved(step) == 4 * 2000
    assert bytes_moved(done) == 4 * (2000 + 100 + 1600)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ("bf16[2,196,64]{2,1,0:T(8,128)(2,1)}", 2 * 200 * 128 * 2),
        ("bf16[2,196,64]{1,2,0:T(8,128)(2,1)}", 2 * 256 * 64 * 2),
        ("(f32[1000]{0:T(1024)}, f32[16,128]{1,0:T(8,128)S(1)})", 1024 * 4),
        ("f32[16,3]{1,0}", 16 * 3 * 4),
    ],
)
def test_arrays_are_padded_to_whole_tiles(shape, size):
    assert in_memory(shape) == size


def test_each_array_of_a_tuple_has_its_own_size():
    shape = "(f32[], bf16[3072]{0:T(1024)}, (s32[8,128]{1,0:T(8,128)}, f32[64]{0:T(128)S(1)}))"
    assert arrays_in_memory(shape) == [("bf16[3072]", 6144), ("s32[8,128]", 4096)]
