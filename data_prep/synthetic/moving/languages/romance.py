"""What French and Spanish have in common: colors that agree with what has them."""

from data_prep.synthetic.moving.languages.base import MovingLanguage


class Romance(MovingLanguage):
    """`{new}` agrees with the thing; `{Old}` and `{New}` are the colors' names, which are masculine."""

    articles = ("le", "la")

    def known(self, thing):
        noun, gender = self.still.nouns[thing.shape].split("/")
        form = int(gender == "f")
        return f"{self.articles[form]} {noun} {self.still.adjectives[thing.color].split('/')[form]}"

    def colors(self, event):
        feminine = self.still.nouns[event.before.shape].endswith("/f")
        old, new = (self.still.adjectives[thing.color].split("/") for thing in (event.before, event.after))
        return {"old": old[feminine], "new": new[feminine], "Old": old[0], "New": new[0]}
