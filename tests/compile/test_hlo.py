import jax
import jax.numpy as jnp
import pytest

from capjax.compile.hlo import HloProgram, size_of

LOOP = """HloModule m, is_scheduled=true

FileNames
1 "/home/me/capjax/models/layers.py"
2 "/home/me/site-packages/jax/lax.py"

FunctionNames
1 "scan"

FileLocations
1 {file_name_id=1 function_name_id=1 line=40 end_line=40 column=3 end_column=9}
2 {file_name_id=2 function_name_id=1 line=7 end_line=7 column=3 end_column=9}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]{0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[8]{0} get-tuple-element(%p), index=1
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  %y = f32[8]{0} fusion(%x), kind=kLoop, calls=%double, metadata={op_name="jit(f)/mul" stack_frame_id=2}, COST
  ROOT %out = (s32[], f32[8]{0}) tuple(%next, %y)
}

%double (q: f32[8]) -> f32[8] {
  %q = f32[8]{0} parameter(0)
  ROOT %s = f32[8]{0} add(%q, %q)
}

%cond (p.1: (s32[], f32[8])) -> pred[] {
  %p.1 = (s32[], f32[8]{0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%p.1), index=0
  %limit = s32[] constant(12)
  ROOT %less = pred[] compare(%i.1, %limit), direction=LT
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  %zero = s32[] constant(0)
  %start = (s32[], f32[8]{0}) tuple(%zero, %a)
  %loop = (s32[], f32[8]{0}) while(%start), condition=%cond, body=%body
  ROOT %result = f32[8]{0} get-tuple-element(%loop), index=1
}
""".replace("COST", 'backend_config={"estimated_cycles":"150"}')


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ("f32[]", 4),
        ("bf16[2,3]{1,0:T(8,128)(2,1)}", 12),
        ("(f32[4]{0}, (pred[8]{0}, s32[2]{0}))", 16 + 8 + 8),
        ("s4[10]{0}", 5),
        ("f8e4m3fn[16]{0}", 16),
        ("token[]", 0),
    ],
)
def test_bytes_of_a_shape(shape, size):
    assert size_of(shape) == size


def test_instructions_run_as_often_as_the_loops_around_them():
    runs = {one.name: times for one, times in HloProgram.parse(LOOP).runs()}
    assert runs["loop"] == runs["start"] == 1
    assert runs["y"] == runs["next"] == 12
    assert "s" not in runs, "instructions inside a fusion are not listed"


def test_cycles_and_source_line_are_parsed():
    program = HloProgram.parse(LOOP)
    fusion = program.computations["body"]["y"]
    assert fusion.cycles == 150
    assert fusion.op_name == "jit(f)/mul"
    assert fusion.operands == ("x",)
    assert program.source(fusion) == "capjax/models/layers.py:40"


def test_the_cause_of_a_compiler_made_instruction_is_the_nearest_user_or_operand_with_a_source():
    program = HloProgram.parse(LOOP)
    in_body, line = program.computations["body"], "capjax/models/layers.py:40"
    assert program.source(in_body["x"]) == ""
    assert program.cause(in_body["x"], uses=True) == line
    assert program.cause(in_body["x"], uses=False) == line, "a carried value comes from the loop's previous trip"
    assert program.cause(in_body["out"], uses=True) == line, "the other direction, where this one finds none"
    assert program.cause(in_body["next"], uses=False) == "", "no instruction near it has a source"
    assert program.cause(in_body["y"], uses=False) == program.source(in_body["y"])


def test_a_loop_with_data_dependent_length_has_no_trips():
    text = LOOP.replace("%limit = s32[] constant(12)", "%limit = s32[] get-tuple-element(%p.1), index=0")
    program = HloProgram.parse(text)
    loop = program.computations["main"]["loop"]
    assert program.trips(loop) is None
    assert {one.name: times for one, times in program.runs(default_trips=5)}["y"] == 5


def test_a_counter_may_have_a_larger_increment():
    program = HloProgram.parse(LOOP.replace("%one = s32[] constant(1)", "%one = s32[] constant(5)"))
    assert {one.name: times for one, times in program.runs()}["y"] == 3, "at 0, 5 and 10 of 12"


def test_text_without_a_program_is_an_error():
    with pytest.raises(ValueError, match="no ENTRY"):
        HloProgram.parse("HloModule m\n")


def test_the_output_of_the_cpu_compiler_is_parsed():
    def f(w, x):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]

    program = HloProgram.parse(jax.jit(f).lower(jnp.ones((5, 4, 4)), jnp.ones((2, 4))).compile().as_text())
    loops = [(one, program.trips(one)) for one, _ in program.runs() if one.opcode == "while"]
    assert [trips for _, trips in loops] == [5]
