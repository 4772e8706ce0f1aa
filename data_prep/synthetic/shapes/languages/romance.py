"""Noun phrases of French and Spanish."""

from data_prep.synthetic.shapes.languages.base import Language


class Romance(Language):
    """Adjectives agree in gender, written `masculine/feminine`, and colors follow the noun, written `étoile/f`."""

    articles = ("un", "une")
    size_follows = False

    def noun_phrase(self, thing, case, sized):
        noun, gender = self.nouns[thing.shape].split("/")
        form = int(gender == "f")
        words = [self.articles[form], noun, self.adjectives[thing.color].split("/")[form]]
        if sized:
            words.insert(3 if self.size_follows else 1, self.sizes[thing.large].split("/")[form])
        return " ".join(words)
