"use strict";
for (const figure of document.querySelectorAll("figure.pair")) {
  const slider = figure.querySelector(".slider");
  const over = slider.querySelector(".over");
  const tag = slider.querySelector(".left");
  slider.querySelector("input").addEventListener("input", (event) => {
    slider.style.setProperty("--at", event.target.value + "%");
  });
  const choice = figure.querySelector("input[type=checkbox]");
  if (choice) {
    choice.addEventListener("change", () => {
      over.src = choice.checked ? over.dataset.clean : over.dataset.rainy;
      tag.textContent = choice.checked ? "ground truth" : tag.dataset.rainy;
    });
  }
}
