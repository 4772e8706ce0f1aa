// The button of a cell of a confusion matrix shows the captions behind it, below the matrix.
const store = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "{}");
const behind = store("behind"), items = store("items");
const element = (name, text, ...children) => {
  const node = document.createElement(name);
  node.append(text, ...children);
  return node;
};
for (const button of document.querySelectorAll("button[data-cell]")) {
  button.addEventListener("click", () => {
    const section = button.closest("section"), matrix = button.closest("table").dataset.matrix;
    const grid = element("div", "");
    grid.className = "grid";
    for (const id of behind[matrix][button.dataset.cell]) {
      const item = items[id], figure = element("figure", "");
      if (item.photo) {
        const image = document.createElement("img");
        image.src = item.photo;
        image.alt = `Photo ${id}`;
        figure.append(image);
      }
      const references = element("ul", "", ...item.references.slice(0, 5).map((text) => element("li", text)));
      figure.append(element("figcaption", "", element("b", item.caption), element("p", "References"), references, element("small", id)));
      grid.append(figure);
    }
    section.querySelector(".behind").replaceChildren(element("h4", button.title), grid);
  });
}
