// Sorts, filters and copies the tables of a leaderboard. The page is complete without it.
(() => {
  const value = (row, at) => {
    const cell = row.cells[at], given = cell.dataset.v;
    return given === undefined ? cell.textContent.trim() : Number(given);
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));

  const unfold = (box) => {
    const fold = box.querySelector("details.fold");
    if (fold) fold.open = true;
  };

  const sort = (table, head) => {
    const at = head.cellIndex, now = head.getAttribute("aria-sort");
    const up = now ? now !== "ascending" : head.dataset.first !== "down";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows].sort((a, b) => (up ? 1 : -1) * compare(value(a, at), value(b, at)));
    table.tBodies[0].append(...rows);
  };

  const filter = (box) => {
    const chosen = [...box.querySelectorAll("select")].map((one) => [one.dataset.by, one.value]);
    const words = box.querySelector("input").value.toLowerCase().split(/[\s,]+/).filter(Boolean);
    let shown = 0;
    for (const row of box.querySelector("table").tBodies[0].rows) {
      const named = !words.length || words.some((word) => row.dataset.name.toLowerCase().includes(word));
      row.hidden = !(named && chosen.every(([by, wanted]) => !wanted || row.dataset[by] === wanted));
      shown += row.hidden ? 0 : 1;
    }
    box.querySelector("output").textContent = shown === 1 ? "1 line" : `${shown} lines`;
  };

  const text = (table) =>
    [...table.rows].filter((row) => !row.hidden)
      .map((row) => [...row.cells].map((cell) => cell.textContent.trim().replace(/\s+/g, " ")).join("\t")).join("\n");

  const copy = (button, table) => {
    const area = document.createElement("textarea");
    area.value = text(table);
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy"); // works from a file too, where the clipboard interface may not
    area.remove();
    button.textContent = done ? "Copied" : "Not copied";
    setTimeout(() => { button.textContent = "Copy table"; }, 1500);
  };

  for (const box of document.querySelectorAll("[data-board]")) {
    const table = box.querySelector("table");
    for (const head of table.querySelectorAll("thead button")) {
      head.addEventListener("click", () => { unfold(box); sort(table, head.closest("th")); });
    }
    for (const control of box.querySelectorAll("select, input")) control.addEventListener("input", () => { unfold(box); filter(box); });
    const button = box.querySelector("button.copy");
    if (button) button.addEventListener("click", () => copy(button, table));
  }
  document.documentElement.classList.add("scripted");
})();
