"""Chinese, simplified."""

from data_prep.synthetic.shapes.languages.base import Language, either_order, side_by_side


class Chinese(Language):
    """A noun is written with its measure word: `圆形/个`, told of a thing that is alone.

    Size stands next to the noun: 大红 would be a bright red.
    """

    def noun_phrase(self, thing, case, sized):
        noun, measure = self.nouns[thing.shape].split("/")
        color = self.adjectives[thing.color]
        return f"一{measure}{color}{self.sizes[thing.large]}{noun}" if sized else color + noun


CHINESE = Chinese(
    nouns={"circle": "圆形/个", "square": "方块/个", "triangle": "三角形/个", "star": "星星/颗", "diamond": "菱形/个"},
    adjectives={
        "red": "红色",
        "blue": "蓝色",
        "green": "绿色",
        "yellow": "黄色",
        "black": "黑色",
        "purple": "紫色",
    },
    sizes=("小", "大"),
    places={"middle": "中间", "top": "上方", "bottom": "下方", "left": "左边", "right": "右边"},
    patterns={
        "at": (
            "{0}在{place}。",
            "有{0}在{place}。",
            "图中有{0}在{place}。",
            "可以看到{0}在{place}。",
            "我们看到{0}在{place}。",
            "{place}有{0}。",
            "{place}是{0}。",
            "图片{place}有{0}。",
            "图片{place}是{0}。",
            "{place}可以看到{0}。",
        ),
        **side_by_side(
            {"left": ("左边", "右边"), "above": ("上方", "下方")},
            "{0}在{1}{relation}。",
            "图中{0}在{1}{relation}。",
            "画面里{0}在{1}{relation}。",
            "这里{0}在{1}{relation}。",
            "可以看到{0}在{1}{relation}。",
            "我们看到{0}在{1}{relation}。",
            "图片显示{0}在{1}{relation}。",
            "{0}{converse}是{1}。",
            "图中{0}{converse}是{1}。",
            "这里{0}{converse}是{1}。",
        ),
        "touch": either_order(
            "{0}碰着{1}。",
            "图中{0}碰着{1}。",
            "可以看到{0}碰着{1}。",
            "{0}和{1}碰在一起。",
            "图中{0}和{1}碰在一起。",
        ),
        "row": (
            "从左到右是{0}、{1}和{2}。",
            "从左到右有{0}、{1}和{2}。",
            "从左到右依次是{0}、{1}和{2}。",
            "图中从左到右是{0}、{1}和{2}。",
            "图中从左到右有{0}、{1}和{2}。",
            "图中从左到右依次是{0}、{1}和{2}。",
            "这里从左到右是{0}、{1}和{2}。",
            "从左到右可以看到{0}、{1}和{2}。",
            "{0}、{1}和{2}从左到右排成一行。",
            "左边是{0}，中间是{1}，右边是{2}。",
        ),
    },
)
