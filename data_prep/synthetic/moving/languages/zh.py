"""Chinese, simplified."""

from data_prep.synthetic.moving.languages.base import MovingLanguage
from data_prep.synthetic.shapes.languages.zh import CHINESE as STILL


class Chinese(MovingLanguage):
    def known(self, thing):
        return self.still.noun_phrase(thing, "", False)


CHINESE = Chinese(
    still=STILL,
    words={
        "left": {"side": "左"},
        "right": {"side": "右"},
        "up": {"side": "上"},
        "down": {"side": "下"},
        "clockwise": {"turn": "顺时针"},
        "counterclockwise": {"turn": "逆时针"},
    },
    clauses={
        "appear": ("{0}出现", "{0}渐渐出现", "{0}显现出来", "{0}浮现出来", "{0}慢慢显现"),
        "leave": (
            "{0}从{side}边离开画面",
            "{0}从{side}边移出画面",
            "{0}向{side}离开画面",
            "{0}向{side}移出画面",
            "{0}从{side}边消失",
        ),
        "move": ("{0}向{side}移动", "{0}往{side}移动", "{0}朝{side}移动", "{0}向{side}滑动", "{0}往{side}平移"),
        "bounce": ("{0}上下弹跳", "{0}上下跳动", "{0}上下蹦跳", "{0}跳起来又落下", "{0}一上一下地跳动"),
        "rebound": (
            "{0}从{side}边缘弹回",
            "{0}在{side}边缘反弹",
            "{0}撞到{side}边缘又弹回来",
            "{0}碰到{side}边缘又返回",
            "{0}移到{side}边缘再回来",
        ),
        "turn": (
            "{0}{turn}旋转",
            "{0}{turn}转动",
            "{0}在原地{turn}旋转",
            "{0}沿{turn}方向旋转",
            "{0}按{turn}方向转动",
        ),
        "grow": ("{0}变大", "{0}逐渐变大", "{0}慢慢变大", "{0}渐渐变大", "{0}变得更大"),
        "shrink": ("{0}变小", "{0}逐渐变小", "{0}慢慢变小", "{0}渐渐变小", "{0}变得更小"),
        "color": (
            "{0}变成{new}",
            "{0}变为{new}",
            "{0}从{old}变成{new}",
            "{0}由{old}变为{new}",
            "{0}的颜色变成{new}",
        ),
    },
    before=(
        "{a}之后，{b}。",
        "先是{a}，然后{b}。",
        "{b}之前，{a}。",
        "{a}，接着{b}。",
        "首先{a}，随后{b}。",
        "{b}，在此之前{a}。",
    ),
    summaries=(
        ("首先{0}。", ("然后{0}。", "接着{0}。"), "最后{0}。"),
        ("起初{0}。", ("随后{0}。", "然后{0}。"), "最终{0}。"),
        ("{0}。", ("然后{0}。",), "最后{0}。"),
        ("一开始{0}。", ("接下来{0}。", "之后{0}。"), "到最后{0}。"),
        ("先是{0}。", ("之后{0}。", "接着{0}。"), "结束时{0}。"),
    ),
    period="。",
    space="",
)
