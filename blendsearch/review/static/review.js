"use strict";
// The page of a layer: marks, keys, sorting and filtering. The server holds the truth; this shows what it says.
const facts = JSON.parse(document.getElementById("facts").textContent);
const list = document.getElementById("filters");
const cards = [...list.children];
const byFilter = new Map(cards.map((card) => [card.dataset.filter, card]));
const element = (id) => document.getElementById(id);
let state = facts.state;
let current = null;

// --- what the server says -------------------------------------------------------------------------------------

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer; nothing was saved. Start it again and open the address it prints.");
  }
  if (answer.status === 403) throw new Error("The server was started anew; open the address it printed.");
  if (!answer.ok) throw new Error((await answer.text()).trim() || `The server answered ${answer.status}.`);
  return answer.json();
}

function trouble(error) {
  element("trouble").hidden = !error;
  element("trouble").textContent = error ? error.message : "";
}

let asked = 0;
async function request(path, body) {
  const turn = ++asked;
  try {
    const answer = await ask(path, body);
    trouble(null);
    if (turn === asked || (answer.version ?? 0) >= (state.version ?? 0)) apply(answer);
    return answer;
  } catch (error) {
    trouble(error);
    apply(state);
    return null;
  }
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

function apply(answer) {
  if (answer.edition !== facts.edition) return location.assign(answer.loop ? `/layer/${answer.loop.layer}` : location.href);
  state = answer;
  if (state.marks) {
    for (const card of cards) show(card, state.marks[card.dataset.filter]);
    document.querySelectorAll("[data-layer]").forEach((label) => {
      const rated = state.rated[Number(label.dataset.layer)];
      const width = label.textContent.split("/")[1];
      label.textContent = `${rated}/${width}`;
      label.parentElement.classList.toggle("done", rated === Number(width));
    });
  }
  const { cost } = state;
  const agreed = state.kappa == null ? "" : ` · ${state.raters} raters, Fleiss' kappa ${state.kappa.toFixed(2)} over ${state.shared}`;
  element("cost").textContent = `${percent(cost.flops)} of the FLOPs · ${percent(cost.params)} of the parameters · ` +
    `${cost.kept} of ${cost.filters} filters${agreed}`;
  if (state.loop) showLoop(state.loop);
}

function show(card, mark = "") {
  if (card.dataset.mark === mark) return;
  card.dataset.mark = mark;
  card.querySelector(".word").textContent = mark;
  card.querySelectorAll(".marks button").forEach((button) =>
    button.setAttribute("aria-pressed", String(button.dataset.mark === mark)));
}

function showLoop(loop) {
  const { result } = loop;
  const waits = !loop.working && !loop.error && result.test_accuracy === undefined && loop.layer === facts.number;
  element("advance").disabled = !waits;
  let words = `keeps ${loop.keep} of ${facts.width}: those marked keep first, those marked drop last`;
  if (loop.layer !== facts.number) words = "another layer's turn";
  if (loop.working) words = loop.message;
  if (loop.error) words = loop.error;
  if (result.test_accuracy !== undefined) {
    words = `Done: ${percent(result.test_accuracy)} of the test images right with ${percent(result.flops_ratio)} of the FLOPs`;
  }
  element("loop").textContent = words;
}

// --- marks ----------------------------------------------------------------------------------------------------

function mark(card, word) {
  if (!card || !card.querySelector(".marks")) return;
  const next = card.dataset.mark === word ? null : word;
  show(card, next ?? "");
  request("/mark", { layer: facts.number, filter: Number(card.dataset.filter), mark: next });
}

async function undo() {
  if (!element("undo")) return;
  const answer = await request("/undo", { layer: facts.number });
  if (answer && !answer.undone) trouble(new Error("There is nothing to take back."));
  const [group, filter] = (answer && answer.undone) || [];
  if (group === document.querySelector("h1").textContent) select(byFilter.get(String(filter)));
  else if (group) trouble(new Error(`Taken back: filter ${filter} of ${group}.`));
}

function select(card) {
  if (!card) return;
  current = card;
  card.focus({ preventScroll: true });
  card.scrollIntoView({ block: "nearest" });
}

function step(by) {
  const shown = [...list.children].filter((card) => !card.hidden);
  const at = shown.indexOf(current);
  select(shown[at < 0 ? 0 : Math.min(shown.length - 1, Math.max(0, at + by))]);
}

list.addEventListener("click", (event) => {
  const card = event.target.closest(".filter");
  if (card) current = card;
  const button = event.target.closest(".marks button");
  if (button) mark(card, button.dataset.mark);
});
list.addEventListener("focusin", (event) => { current = event.target.closest(".filter") ?? current; });

const KEYS = {
  j: () => step(1), k: () => step(-1), u: undo,
  1: () => mark(current, "keep"), 2: () => mark(current, "drop"), 3: () => mark(current, "unsure"),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, input")) return;
  if (KEYS[event.key]) {
    event.preventDefault();
    KEYS[event.key]();
  }
});

// --- sorting and filtering --------------------------------------------------------------------------------------

const ORDERS = {
  index: { words: "by index", value: null },
  spread: { words: "by disagreement", value: (position) => -facts.spread[position] },
};
for (const name of Object.keys(facts.ranks)) {
  ORDERS[`low ${name}`] = { words: `${name}, least first`, name, value: (position) => facts.ranks[name][position] };
  ORDERS[`high ${name}`] = { words: `${name}, most first`, name, value: (position) => -facts.ranks[name][position] };
}
for (const [value, { words }] of Object.entries(ORDERS)) element("sort").add(new Option(words, value));

const SHOWN = {
  all: () => true,
  unrated: (card) => !card.dataset.mark,
  keep: (card) => card.dataset.mark === "keep",
  unsure: (card) => card.dataset.mark === "unsure",
  drop: (card) => card.dataset.mark === "drop",
  kept: (card) => card.dataset.kept === "yes",
  dropped: (card) => card.dataset.kept === "no",
  split: (card) => card.dataset.split === "yes",
  silent: (card) => "silent" in card.dataset,
};

function arrange() {
  const order = ORDERS[element("sort").value] ?? ORDERS.index;
  const position = (card) => Number(card.dataset.position);
  const value = order.value ?? ((at) => at);
  const sorted = [...cards].sort((a, b) => value(position(a)) - value(position(b)) || position(a) - position(b));
  const wanted = SHOWN[element("filter").value] ?? SHOWN.all;
  for (const card of sorted) {
    card.hidden = !wanted(card);
    const rank = order.name ? `${order.name} ${facts.ranks[order.name][position(card)]}` : `spread ${facts.spread[position(card)]}`;
    card.querySelector(".rank").textContent = rank;
  }
  if (sorted.some((card, at) => card !== list.children[at])) list.append(...sorted);
  const count = cards.filter((card) => !card.hidden).length;
  element("shown").textContent = `${count} of ${cards.length} filters; ranks and spread (their standard deviation) in percent`;
}

function look() {
  const overlay = element("view").value === "overlay";
  list.dataset.view = element("view").value;
  for (const card of cards) {
    const picture = card.querySelector("img.maps");
    const wanted = picture.getAttribute("src").replace(/\/(maps|overlay)\//, overlay ? "/overlay/" : "/maps/");
    if (wanted !== picture.getAttribute("src")) picture.src = wanted;
  }
}

for (const id of ["sort", "filter", "view"]) {
  const box = element(id), kept = sessionStorage.getItem(id);
  if (kept && [...box.options].some((option) => option.value === kept)) box.value = kept;
  box.addEventListener("change", () => {
    sessionStorage.setItem(id, box.value);
    (id === "view" ? look : arrange)();
  });
}

list.addEventListener("toggle", (event) => {
  const card = event.target.closest(".filter");
  if (!card || !event.target.open || event.target.querySelector("dl")) return;
  const rows = document.createElement("dl");
  const ranks = Object.entries(facts.ranks).map(([name, values]) => [name, values[Number(card.dataset.position)]]);
  for (const [name, rank] of ranks.sort((a, b) => b[1] - a[1])) {
    rows.append(Object.assign(document.createElement("dt"), { textContent: name }));
    rows.append(Object.assign(document.createElement("dd"), { textContent: `${rank}` }));
  }
  event.target.append(rows);
}, true);

// --- the rest -----------------------------------------------------------------------------------------------------

element("undo")?.addEventListener("click", undo);
element("estimate")?.addEventListener("click", async () => {
  element("estimate").disabled = true;
  element("estimated").textContent = "estimating …";
  try {
    const { accuracy, proxy } = await ask("/estimate", {});
    element("estimated").textContent = `${percent(accuracy)} by ${proxy}, as marked at ${new Date().toLocaleTimeString()}`;
  } catch (error) {
    element("estimated").textContent = "";
    trouble(error);
  }
  element("estimate").disabled = false;
});
element("advance")?.addEventListener("click", () => request("/advance", { layer: facts.number }));

const refresh = () => { if (!document.hidden) request(`/state/${facts.number}`); };
if (facts.mode !== "explain") {
  window.addEventListener("focus", refresh);
  document.addEventListener("visibilitychange", refresh);
  setInterval(() => { if (state.loop?.working) refresh(); }, 1500);
}

apply(state);
arrange();
if (element("view").value !== "beside") look();
