// Read the embedded data, then show the view that the address names.

const TRAINING = { views: { overview, episodes, episode }, tabs: [["overview", "Overview"], ["episodes", "Episodes"], ["episode", "Episode"]] };
const RUN = { views: { overview: runOverview, plan: planView, steps: runSteps }, tabs: [["overview", "Overview"], ["plan", "Plan"], ["steps", "Steps"]] };

async function unpacked(text) {
  if (text.startsWith("{")) return JSON.parse(text);
  if (typeof DecompressionStream === "undefined") {
    throw new Error("This browser cannot unpack the data of this page. Open it in Chrome or Edge 80, Firefox 113, Safari 16.4, or newer.");
  }
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let at = 0; at < raw.length; at += 1) bytes[at] = raw.charCodeAt(at);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

// The file holds columns and lists; the views want them by id, by group, and ready to search.
function prepared(data) {
  if (data.kind === "run") return { ...data, ...RUN };
  const { fields, rows } = data.index;
  const index = rows.map((values) => {
    const row = Object.fromEntries(fields.map((name, at) => [name, values[at]]));
    row.taskAt = row.task;
    const task = data.tasks[row.taskAt];
    row.task = task.id;
    row.text = clip(task.instruction.replace(/\s+/g, " "), 110);
    row.words = [task.id, task.instruction.slice(0, 2000), row.id, row.group, row.end, row.phase, row.error ?? ""].join(" ").toLowerCase();
    return row;
  });
  const groups = new Map();
  for (const row of index) groups.set(row.group, [...(groups.get(row.group) ?? []), row]);
  return {
    ...data, ...TRAINING, index, groups, plain: false,
    byId: new Map(index.map((row) => [row.id, row])),
    episodes: new Map(data.episodes.map((one) => [one.id, one])),
    order: index.filter((row) => row.stored).map((row) => row.id),
    words: new Map(data.words),
    joiner: data.words.some(([, word]) => /\s/.test(word)) ? "" : " ",
    members: once(() => membersOf(data.episodes)),
  };
}

function once(make) {
  let made = null;
  return () => (made ??= make());
}

function membersOf(all) {
  const found = new Map();
  for (const one of all) {
    for (const step of one.steps) {
      for (const term of step.terms ?? []) {
        if (!known(term.group)) continue;
        const key = `${term.name} ${term.group}`;
        if (!found.has(key)) found.set(key, []);
        found.get(key).push({ episode: one.id, step, value: term.value });
      }
    }
  }
  return found;
}

function show(page) {
  const current = state();
  const name = current.episode && page.views.episode ? "episode" : Object.hasOwn(page.views, current.view ?? "") && current.view !== "episode" ? current.view : "overview";
  const main = document.getElementById("main");
  if (name === "episode") page.recent = current.episode;
  document.getElementById("tabs").replaceChildren(...page.tabs.map(([view, title]) => {
    const values = view === "episode" ? { episode: page.recent ?? page.order[0] } : { view };
    return h("a", { href: address(values), "aria-current": view === name ? "page" : null }, title);
  }));
  document.getElementById("tip").hidden = true;
  const { view, ...rest } = current;
  main.replaceChildren(...[page.views[name](page, rest)].flat(Infinity).filter(Boolean));
  if (page.shown !== `${name} ${current.episode ?? ""}`) scrollTo(0, 0);
  page.shown = `${name} ${current.episode ?? ""}`;
  for (const here of main.querySelectorAll("[aria-current=step], .bar.here")) centre(here);
  drawCharts();
}

// Bring the current step into its own list without moving the page.
function centre(element) {
  const box = element.closest(".rail, .bars");
  const [inner, outer] = [element.getBoundingClientRect(), box.getBoundingClientRect()];
  box.scrollTop += inner.top - outer.top - (outer.height - inner.height) / 2;
  box.scrollLeft += inner.left - outer.left - (outer.width - inner.width) / 2;
}

function keys(page, event) {
  const typing = event.target instanceof Element && event.target.closest("input, select, textarea");
  if (typing || event.altKey || event.ctrlKey || event.metaKey) return;
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const current = state();
  if (by && page.kind === "run" && current.view === "steps") {
    const some = stepsOf(page, current);
    const to = some[Math.max(0, some.findIndex((step) => step.id === current.step)) + by];
    if (to) { event.preventDefault(); go({ ...current, step: to.id }); }
    return;
  }
  if (!by || !current.episode) return;
  const steps = page.episodes.get(current.episode)?.steps ?? [];
  const at = Math.max(0, steps.findIndex((step) => String(step.index) === current.step));
  const to = event.shiftKey ? page.order[page.order.indexOf(current.episode) + by] : steps[at + by];
  if (to === undefined) return;
  event.preventDefault();
  go(event.shiftKey ? { episode: to } : { episode: current.episode, step: to.index });
}

async function start() {
  const main = document.getElementById("main");
  try {
    const page = prepared(await unpacked(document.getElementById("data").textContent.trim()));
    document.title = `${visible(page.name)} · everystep`;
    document.getElementById("run").textContent = visible(page.name);
    addEventListener("hashchange", () => show(page));
    addEventListener("keydown", (event) => keys(page, event));
    for (const event of ["mouseover", "focusin"]) document.addEventListener(event, showTip);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(page));
    show(page);
    document.documentElement.dataset.ready = "yes";
  } catch (error) {
    main.replaceChildren(h("h1", "This page cannot be shown"), h("p", error.message),
      h("p", "The run itself is not affected; write the page again with ", h("code", "everystep view RUN"), "."));
  }
}

start();
