/* The search is a dialog to readers of screens, and wants a name; tables that scroll want the keyboard's focus. */
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
addEventListener("load", () => {
  for (const table of document.querySelectorAll(".md-typeset__scrollwrap")) table.tabIndex = 0;
});
