// A link leads to its target even where that is folded away.
const reveal = (move = true) => {
  let target = null;
  try { target = document.getElementById(decodeURIComponent(location.hash.slice(1))); } catch { return; }
  if (!target) return;
  for (let place = target; place; place = place.parentElement) if (place.tagName === "DETAILS") place.open = true;
  if (move) target.scrollIntoView();
  (target.querySelector(":scope > summary") ?? target).focus({ preventScroll: true });
};

// Copying needs no network; where the clipboard is closed to the page, the text is selected for the reader.
const copyText = async (source) => {
  try {
    await navigator.clipboard.writeText(source.textContent);
    return "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    try { return document.execCommand("copy") ? "Copied" : "Selected"; } catch { return "Selected"; }
  }
};
const setUpCopying = () => {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    const told = await copyText(document.getElementById(button.dataset.copy));
    button.textContent = told;
    document.getElementById("told").textContent = told === "Copied" ? "Copied" : "Selected: copy it with the keyboard";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  for (const button of document.querySelectorAll("button.copy")) button.hidden = false;
};

// On paper everything but the runs is unfolded; afterwards the reader is where they were.
const setUpPrinting = () => {
  let opened = [];
  let place = 0;
  addEventListener("beforeprint", () => {
    place = scrollY;
    opened = [...document.querySelectorAll("main details.part:not([open])")];
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
    scrollTo({ top: place, behavior: "instant" });
  });
};

// The contents: beside the text where there is room, folded where there is none, with the section in view marked.
const setUpContents = () => {
  const contents = document.getElementById("contents");
  if (!contents) return;
  const wide = matchMedia("(min-width: 80rem)");
  const fit = () => { contents.open = wide.matches; };
  fit();
  wide.addEventListener("change", fit);
  contents.addEventListener("click", (event) => {
    if (event.target.tagName === "A" && !wide.matches) contents.open = false;
  });
  const links = new Map([...contents.querySelectorAll("a.section")].map((link) => [link.hash.slice(1), link]));
  const inView = new Set();
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) entry.isIntersecting ? inView.add(entry.target.id) : inView.delete(entry.target.id);
    let first = true;
    for (const [id, link] of links) {
      if (inView.has(id) && first) { link.setAttribute("aria-current", "true"); first = false; }
      else link.removeAttribute("aria-current");
    }
  }, { rootMargin: "-10% 0px -60% 0px" });
  for (const id of links.keys()) if (document.getElementById(id)) watch.observe(document.getElementById(id));
};

document.addEventListener("DOMContentLoaded", () => {
  setUpTheme();
  document.querySelectorAll("table.sortable").forEach(setUpSorting);
  document.querySelectorAll("form.filter").forEach(setUpFilter);
  setUpCopying();
  setUpPrinting();
  setUpContents();
  addEventListener("hashchange", () => reveal());
  // A link to where the reader already is opens it again.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='#']");
    if (link && link.hash === location.hash) setTimeout(reveal);
  });
  if (location.hash) reveal();
});
