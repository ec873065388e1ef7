"use strict";
// Each figure: the slider moves the edge of the left picture; the checkbox puts the ground truth in its place.
for (const figure of document.querySelectorAll("figure.pair")) {
  const slider = figure.querySelector(".slider");
  const over = slider.querySelector(".over");
  const tag = slider.querySelector(".left");
  slider.querySelector("input").addEventListener("input", (event) => {
    slider.style.setProperty("--at", event.target.value + "%");
  });
  const groundTruth = figure.querySelector("input[type=checkbox]");
  if (groundTruth) {
    groundTruth.addEventListener("change", () => {
      over.src = groundTruth.checked ? over.dataset.clean : over.dataset.rainy;
      tag.textContent = groundTruth.checked ? "ground truth" : tag.dataset.rainy;
    });
  }
}
