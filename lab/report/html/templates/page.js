"use strict";
// Copy buttons are hidden until now: without a script they could do nothing.
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    const done = await copied(source);
    tell(button, done ? "Copied" : "Select it and press Ctrl+C");
  });
}

async function copied(source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    return true;
  } catch {
    // Where the clipboard is not granted, what is selected can still be copied.
    const range = document.createRange();
    range.selectNodeContents(source);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    return document.execCommand("copy");
  }
}

function tell(button, words) {
  const label = button.firstChild;
  label.textContent = words;
  document.getElementById("told").textContent = words;
  clearTimeout(button.timer);
  button.timer = setTimeout(() => { label.textContent = "Copy"; }, 2500);
}
