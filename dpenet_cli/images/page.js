"use strict";
// Each figure: the slider moves the edge of the left picture; the lists, where there are some, choose the pictures.
for (const figure of document.querySelectorAll("figure.pair")) {
  const slider = figure.querySelector(".slider");
  slider.querySelector("input").addEventListener("input", (event) => {
    slider.style.setProperty("--at", event.target.value + "%");
  });
  const left = figure.querySelector("select.left");
  const right = figure.querySelector("select.right");
  if (!left) continue;
  const layers = [...slider.querySelectorAll("img")];
  const show = () => {
    layers.forEach((layer, number) => {
      const isRight = number === Number(right.value); // the same on both sides is one picture, not clipped
      layer.className = isRight ? "under" : number === Number(left.value) ? "over" : "aside";
    });
    slider.querySelector(".tag.left").textContent = left.selectedOptions[0].textContent;
    slider.querySelector(".tag.right").textContent = right.selectedOptions[0].textContent;
  };
  left.addEventListener("change", show);
  right.addEventListener("change", show);
}
// Pictures of a gallery are decoded as they come near, and forgotten when they are far: hundreds would fill the memory.
const AHEAD = 1500; // pixels above and below the window
const load = (figure, isNear) => {
  for (const image of figure.querySelectorAll("img[data-src]")) {
    if (!isNear) image.removeAttribute("src");
    else if (!image.hasAttribute("src")) image.src = image.dataset.src;
  }
};
const observer = new IntersectionObserver((entries) => {
  for (const entry of entries) load(entry.target, entry.isIntersecting);
}, { rootMargin: AHEAD + "px 0px" });
for (const figure of document.querySelectorAll("figure.lazy")) {
  const { top } = figure.getBoundingClientRect();
  if (top < innerHeight + AHEAD) load(figure, true); // at once: the observer reports with the first frame
  observer.observe(figure);
}
