"use strict";
// The theme: the system's unless the reader chose one, which is remembered where the browser allows it.
const remembered = () => { try { return localStorage.getItem("gkdbench-theme"); } catch { return null; } };
const remember = (theme) => { try { localStorage.setItem("gkdbench-theme", theme); } catch { /* not here */ } };
const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};
// Before anything is painted.
document.documentElement.classList.add("scripted");
if (["light", "dark"].includes(remembered())) document.documentElement.dataset.theme = remembered();

const setUpTheme = () => {
  const button = document.getElementById("theme");
  const tell = () => {
    button.textContent = isDark() ? "Light theme" : "Dark theme";
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    remember(theme);
    tell();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
  tell();
};
