import pytest

from capjax.compile.hlo import HloProgram
from capjax.compile.loop_fusions import loop_seconds
from capjax.compile.topology import CHIPS

CHIP = CHIPS["v5e"]
SIZE = 1 << 20
TEXT = """HloModule m

%scaled (x: f32[1048576]) -> f32[1048576] {
  %x = f32[1048576]{0} parameter(0)
  %two = f32[] constant(2)
  %twos = f32[1048576]{0} broadcast(%two), dimensions={}
  ROOT %y = f32[1048576]{0} multiply(%x, %twos)
}

%powers (x.1: f32[1048576]) -> f32[1048576] {
  %x.1 = f32[1048576]{0:S(1)} parameter(0)
  %e = f32[1048576]{0} exponential(%x.1)
  %l = f32[1048576]{0} tanh(%e)
  ROOT %r = f32[1048576]{0:S(1)} add(%l, %e)
}

%sorted (x.2: f32[1048576]) -> f32[1048576] {
  %x.2 = f32[1048576]{0} parameter(0)
  ROOT %back = f32[1048576]{0} reverse(%x.2), dimensions={0}
}

ENTRY %main (a: f32[1048576], b: f32[1024,1024]) -> f32[1048576] {
  %a = f32[1048576]{0} parameter(0)
  %near = f32[1048576]{0:S(1)} parameter(2)
  %b = f32[1024,1024]{1,0} parameter(1)
  %same = f32[1024,1024]{1,0} copy(%b)
  %turned = f32[1024,1024]{0,1} copy(%b)
  %loop = f32[1048576]{0} fusion(%a), kind=kLoop, calls=%scaled
  %costly = f32[1048576]{0:S(1)} fusion(%near), kind=kLoop, calls=%powers
  ROOT %other = f32[1048576]{0} fusion(%loop), kind=kLoop, calls=%sorted
}
"""


def seconds(name: str) -> float | None:
    program = HloProgram.parse(TEXT)
    return loop_seconds(program, program.computations["main"][name], CHIP)


@pytest.mark.parametrize("name", ["same", "loop"])
def test_a_loop_with_few_operations_takes_the_time_of_its_bytes(name):
    assert seconds(name) == pytest.approx(2 * 4 * SIZE / CHIP.bandwidth)


def test_a_loop_in_on_chip_memory_takes_the_time_of_its_operations():
    assert seconds("costly") == pytest.approx((8 + 8 + 1) * SIZE / (4 * 1024 * 1.5e9))


@pytest.mark.parametrize("name", ["turned", "other"])
def test_a_loop_that_moves_elements_between_lanes_has_no_time(name):
    assert seconds(name) is None
