/* The search is a dialog to readers of screens, and wants a name. */
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
