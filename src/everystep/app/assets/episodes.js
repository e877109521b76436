// The table of episodes: filter, sort, open.

const COLUMNS = [
  ["iteration", "Iter.", true],
  ["phase", "Phase", false],
  ["task", "Task", false],
  ["group", "Group", false],
  ["outcome", "Outcome", true],
  ["success", "Success", false],
  ["steps", "Steps", true],
  ["end", "End", false],
];
const PAGE_ROWS = 100;

function matching(page, current) {
  const words = (current.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const found = page.index.filter((row) =>
    (!current.phase || row.phase === current.phase)
    && (!current.iteration || String(row.iteration) === current.iteration)
    && (!current.success || String(row.success) === current.success)
    && (!current.only || row.stored)
    && words.every((word) => row.words.includes(word)));
  const key = COLUMNS.some(([name]) => name === current.sort) ? current.sort : null;
  if (key) {
    const sign = current.down ? -1 : 1;
    const order = (value) => (value === true ? 2 : value === false ? 1 : value);
    found.sort((one, other) => {
      const [left, right] = [order(one[key]), order(other[key])];
      if (!known(left) || !known(right)) return (known(right) ? 1 : 0) - (known(left) ? 1 : 0);
      return sign * (left < right ? -1 : left > right ? 1 : 0);
    });
  }
  return found;
}

function episodes(page, current) {
  const body = h("tbody");
  const count = h("p.quiet");
  const moreButton = h("button", { type: "button", on: { click: () => { limit += 5 * PAGE_ROWS; fill(); } } });
  const head = h("tr");
  let limit = PAGE_ROWS;

  const set = (values) => { Object.assign(current, values); limit = PAGE_ROWS; replace({ view: "episodes", ...current }); fill(); };
  const values = (key) => [...new Set(page.index.map((row) => row[key]))];
  const options = (list) => [["", "all"], ...list.map((value) => [String(value), String(value)])];

  function fill() {
    const found = matching(page, current);
    const solved = found.filter((row) => row.success === true).length;
    count.textContent = `${number(found.length)} of ${number(page.total)} episodes`
      + (found.length ? `, ${percent(solved / found.length)} solved` : "")
      + `. The steps of ${number(page.stored)} are on this page.`;
    head.replaceChildren(...COLUMNS.map(([key, title, numeric]) => {
      const sorted = current.sort === key;
      return h(numeric ? "th.n" : "th", { "aria-sort": sorted ? (current.down ? "descending" : "ascending") : "none", scope: "col" },
        h("button.sort", { type: "button", on: { click: () => set({ sort: key, down: sorted && !current.down ? "1" : "" }) } },
          title, sorted ? (current.down ? " ↓" : " ↑") : ""));
    }));
    body.replaceChildren(...found.slice(0, limit).map((row) => tableRow(page, row)));
    if (!found.length) body.append(h("tr", h("td", { colspan: COLUMNS.length }, h("span.quiet", "No episode matches. Loosen a filter."))));
    moreButton.hidden = found.length <= limit;
    moreButton.textContent = `Show more (${number(found.length - limit)} left)`;
  }

  const search = h("input", { type: "search", placeholder: "task, instruction, group, end …", value: current.q ?? "", "aria-label": "Text", on: { input: () => set({ q: search.value }) } });
  const only = h("input", { type: "checkbox", checked: Boolean(current.only), on: { change: () => set({ only: only.checked ? "1" : "" }) } });
  fill();
  return [
    h("h1", "Episodes"),
    h("div.row.filters", search,
      choice("Phase", options(values("phase").filter(Boolean)), current.phase ?? "", (value) => set({ phase: value })),
      choice("Iteration", options(values("iteration").sort((one, other) => one - other)), current.iteration ?? "", (value) => set({ iteration: value })),
      choice("Success", [["", "all"], ["true", "solved"], ["false", "not solved"], ["null", "undecided"]], current.success ?? "", (value) => set({ success: value })),
      h("label.choice", only, " with steps")),
    count,
    h("div.scroll", h("table.episodes", h("thead", head), body)),
    moreButton,
  ];
}

function tableRow(page, row) {
  const open = () => go({ episode: row.id });
  const name = h("div.task", row.text || row.task);
  const cells = [
    h("td.n", number(row.iteration)), h("td", row.phase),
    h("td", row.stored ? h("a", { href: address({ episode: row.id }) }, name) : name),
    h("td.code", row.group), h("td.n", number(row.outcome)),
    h("td", outcomeMark(row.success)), h("td.n", number(row.steps)), h("td", row.end),
  ];
  return row.stored
    ? h("tr.open", { on: { click: (event) => { if (!event.target.closest("a")) open(); } } }, cells)
    : h("tr.closed", { title: "The steps of this episode are in the journal, not on this page." }, cells);
}
