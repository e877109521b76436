// One episode: header, its group, credit per step, and one step in full.

const KINDS = {
  context: "what the model read",
  sampled: "what the model wrote",
  tool: "came back from a tool",
  forced: "put into the model's turn",
  other_agent: "written by another agent",
};

function episode(page, current) {
  const row = page.byId.get(current.episode);
  const stored = page.episodes.get(current.episode);
  if (!row || !stored) {
    return [h("h1", "Episode"), h("p", row ? "The steps of this episode are in the journal, but not on this page. " : "This page has no such episode. ",
      h("code", current.episode)), h("p", h("a", { href: "#view=episodes" }, "All episodes"))];
  }
  const steps = stored.steps;
  const at = Math.max(0, steps.findIndex((step) => String(step.index) === current.step));
  const task = page.tasks[row.taskAt];
  return [
    h("section.head",
      h("div.row", h("h1", task.instruction || task.id), h("span.grow"), neighbours(page, row)),
      h("div.row.facts", outcomeMark(row.success), fact("outcome", number(row.outcome)), fact("end", row.end),
        fact("steps", number(row.steps)), fact("phase", row.phase), fact("iteration", number(row.iteration)),
        fact("seed", row.seed), fact("episode", row.id)),
      row.error ? h("p.warn", row.error) : null,
      h("details", h("summary", "Task"), pairs([["id", task.id], ["environment", task.environment], ["seed", String(task.seed)], ["split", task.split], ...task.more]))),
    groupStrip(page, row),
    steps.length ? [creditChart(page, stored, at), stepView(page, stored, at)] : h("p.quiet", "This episode has no steps."),
    verdicts(stored),
    stored.final ? h("details", h("summary", "The last observation"), h("pre", stored.final)) : null,
  ];
}

const fact = (name, value) => (known(value) && value !== "" ? h("span.fact", h("span.quiet", `${name} `), value) : null);

function neighbours(page, row) {
  const list = page.order;
  const at = list.indexOf(row.id);
  const link = (to, text, title) => (list[to]
    ? h("a.button", { href: address({ episode: list[to] }), title }, text)
    : h("span.button.off", text));
  return h("span.pager", link(at - 1, "‹ previous", "Shift + ←"), h("span.quiet", `${number(at + 1)} of ${number(list.length)}`), link(at + 1, "next ›", "Shift + →"));
}

function groupStrip(page, row) {
  const members = page.groups.get(row.group) ?? [];
  const solved = members.filter((one) => one.success === true).length;
  return h("section.group", h("h2", "Group ", h("code", row.group)),
    h("span.quiet", members.length === 1 ? "one episode" : `${number(members.length)} episodes of this task, ${number(solved)} solved`),
    h("div.members", members.slice(0, 200).map((one) => {
      const kind = one.success === true ? "good" : one.success === false ? "bad" : "open";
      const label = `${one.success === true ? "✓" : one.success === false ? "✗" : "–"} ${number(one.outcome)}`;
      const pill = one.stored
        ? h(`a.pill.${kind}`, { href: address({ episode: one.id }), "aria-current": one.id === row.id ? "page" : null }, label, h("small", ` ${number(one.steps)} steps`))
        : h(`span.pill.${kind}`, label, h("small", ` ${number(one.steps)} steps`));
      return tipped(pill, () => pairs([["episode", one.id], ["outcome", number(one.outcome)], ["steps", number(one.steps)], ["end", one.end]]));
    }), members.length > 200 ? h("span.quiet", `and ${number(members.length - 200)} more`) : null));
}

// Bars of credit, one a step, above or below zero; without credit the bars show the reward.
function creditChart(page, stored, at) {
  const steps = stored.steps;
  const shown = steps.some((step) => isNumber(step.credit)) ? "credit" : "reward";
  const top = Math.max(...steps.map((step) => Math.abs(step[shown] ?? 0)), 1e-12);
  const bars = steps.map((step, index) => {
    const value = step[shown];
    const bar = h(`a.bar${index === at ? ".here" : ""}${step.valid === false ? ".invalid" : ""}`,
      { href: address({ episode: stored.id, step: step.index }), "aria-label": `step ${step.index}, ${shown} ${number(value)}` },
      h(value < 0 ? "i.down" : "i.up", { style: { "--size": `${(50 * Math.abs(value ?? 0)) / top}%` } }));
    return tipped(bar, () => pairs([["step", String(step.index)], ["action", clip(step.action, 60)], [shown, signed(value)], ["reward", number(step.reward)]]));
  });
  return h("section.credit",
    h("div.row", h("h2", shown === "credit" ? "Credit per step" : "Reward per step"),
      h("span.quiet", shown === "credit" ? `${page.estimator}; bars up to ±${number(top)}` : `${page.nocredit} Bars up to ±${number(top)}.`)),
    h("div.bars", bars));
}

const clip = (text, length) => (text.length > length ? `${text.slice(0, length)} …` : text);

function stepView(page, stored, at) {
  const steps = stored.steps;
  const rail = h("ol.rail", { "aria-label": "Steps" }, steps.map((step, index) => h("li",
    h("a", { href: address({ episode: stored.id, step: step.index }), "aria-current": index === at ? "step" : null },
      h("span.n", String(step.index)), h(step.valid === false ? "span.act.invalid" : "span.act", clip(step.action, 80) || "(empty)"),
      h(`span.n${step.credit < 0 ? ".minus" : step.credit > 0 ? ".plus" : ""}`, isNumber(step.credit) ? signed(step.credit, 2) : "")))));
  return h("section.steps", h("div.side", h("h2", `Steps (${number(steps.length)})`), rail, h("p.quiet", "← → step", h("br"), "Shift + ← → episode")),
    h("article.step", oneStep(page, stored, steps[at])));
}

function oneStep(page, stored, step) {
  return [
    h("div.row", h("h2", `Step ${step.index}`), h("span.quiet", h("code", step.id)), h("span.grow"),
      step.agent ? fact("agent", step.agent) : null, fact("stopped by", step.stop)),
    h("h3", "Observation"), h("pre.observation", step.observation || "(empty)"),
    h("div.row.facts", fact("anchor", step.anchor ? h("code", clip(step.anchor, 80)) : null)),
    step.admissible ? h("details", h("summary", `${number(step.choices)} actions could be executed here`),
      h("p.choices", step.admissible.map((one) => h(one === step.action ? "code.taken" : "code", one)), step.choices > step.admissible.length ? " …" : "")) : null,
    h("h3", "Action"),
    h(step.valid === false ? "pre.action.invalid" : "pre.action", step.action || "(empty)"),
    step.valid === false ? h("p.warn", `Not valid: ${step.reason ?? "no reason was given"}`) : null,
    step.calls ? h("p.choices", step.calls.map((call) => h("code", call))) : null,
    h("div.numbers",
      cell("reward", number(step.reward)), cell("return to go", number(step.rest), "the rewards from this step to the end, not discounted"),
      isNumber(step.credit) ? cell("credit", signed(step.credit), null, step.credit < 0 ? "minus" : "plus") : null,
      Object.entries(step.scores ?? {}).map(([name, value]) => cell(name, number(value)))),
    creditTable(page, stored, step),
    verdicts(step),
    tokens(page, step),
  ];
}

function cell(name, value, hint, kind) {
  return h("div.cell", { title: hint }, h("div.label", name), h(`div.value${kind ? `.${kind}` : ""}`, value));
}

function ruleOf(term) {
  if (term.alone) return "alone in its group: nothing to compare with";
  if (term.constant) return "all of the group are equal: no credit";
  return term.rule ?? "";
}

// The steps on this page that share the term's group, with their values.
function comparedWith(page, stored, term) {
  const members = known(term.group) ? page.members().get(`${term.name} ${term.group}`) ?? [] : [];
  if (members.length < 2) return null;
  const list = h("details", h("summary", `${number(members.length)} steps`));
  list.addEventListener("toggle", () => {
    if (list.childElementCount > 1) return;
    list.append(h("div.compared", members.slice(0, 60).map((one) => h("a", { href: address({ episode: one.episode, step: one.step.index }) },
      h(one.episode === stored.id ? "b" : "span", `${one.episode} step ${one.step.index}`), h("span.quiet", ` ${clip(one.step.action, 30)}`), h("span.n", fixed(one.value))))),
      members.length > 60 ? h("p.quiet", `and ${number(members.length - 60)} more`) : "");
  }, { once: true });
  return list;
}

function creditTable(page, stored, step) {
  if (!isNumber(step.credit)) return [h("h3", "Why this credit"), h("p.quiet", page.nocredit)];
  const terms = step.terms ?? [];
  if (!terms.length) return [h("h3", "Why this credit"), h("p.quiet", "The stored credit came without its terms.")];
  const scale = Math.max(...terms.map((term) => Math.abs(term.contribution ?? 0)), 1e-12);
  const rows = terms.map((term) => h("tr",
    h("th", { scope: "row" }, term.name, term.value_name && term.value_name !== term.name ? h("div.quiet", term.value_name) : null),
    h("td", h("code", clip(String(term.key ?? ""), 70)), h("div.quiet", ruleOf(term)), comparedWith(page, stored, term)),
    h("td.n", number(term.size), term.rows && term.rows !== term.size ? h("div.quiet", `${number(term.rows)} steps`) : null),
    h("td.n", fixed(term.value)), h("td.n", fixed(term.mean)), h("td.n", fixed(term.std)), h("td.n", fixed(term.normalised)), h("td.n", number(term.weight)),
    h("td.n.contribution", h(term.contribution < 0 ? "i.minus" : "i.plus", { style: { "--size": `${(2 * Math.abs(term.contribution ?? 0)) / scale}rem` } }),
      isNumber(term.contribution) && term.contribution > 0 ? `+${fixed(term.contribution)}` : fixed(term.contribution))));
  return [
    h("h3", "Why this credit"),
    h("div.scroll", h("table.terms",
      h("thead", h("tr", ["Term", "Compared with", "Group size", "Value", "Group mean", "Std", "Normalised", "Weight", "Contribution"].map((title, index) => h(index > 1 ? "th.n" : "th", { scope: "col" }, title)))),
      h("tbody", rows),
      h("tfoot", h("tr", h("th", { scope: "row", colspan: 8 }, `Credit of this step (${page.estimator})`), h("td.n", step.credit > 0 ? `+${fixed(step.credit)}` : fixed(step.credit)))))),
    page.formula ? h("p.quiet", page.formula) : null,
    step.after ? h("p.quiet", step.after) : null,
  ];
}

function verdicts(step) {
  if (!step.verdicts) return null;
  return [h("h3", "Verdicts"), h("div.scroll", h("table.terms",
    h("thead", h("tr", ["Judge", "Score", "Label", "Reason", "Saw"].map((title) => h("th", { scope: "col" }, title)))),
    h("tbody", step.verdicts.map((one) => h("tr", h("th", { scope: "row" }, one.judge),
      h("td", known(one.score) ? `${number(one.score)} of ${number(one.low)} to ${number(one.high)}` : "–"),
      h("td", one.label ?? "–"), h("td", one.reason ?? "–"),
      h("td", (one.evidence ?? []).join(", ") || "–", one.sees_future ? h("div.warn", "saw the future") : null))))))];
}

function tokens(page, step) {
  const record = step.tokens;
  if (!record) return null;
  const present = [...new Set(record.spans.map((span) => span[2]))];
  const place = h("div");
  const drawn = () => (page.plain ? plainTokens(page, record) : chips(page, record));
  const button = h("button", { type: "button", on: { click: () => { page.plain = !page.plain; fill(); } } });
  const fill = () => { button.textContent = page.plain ? "Show tokens" : "Show plain text"; place.replaceChildren(drawn()); };
  fill();
  const sampled = record.spans.reduce((sum, span) => sum + (span[2] === "sampled" ? span[1] - span[0] : 0), 0);
  return [
    h("div.row", h("h3", "Tokens"), h("span.quiet", `${number(record.count)}, of which ${number(sampled)} sampled at temperature ${number(record.temperature)}${record.policy ? ` by ${record.policy}` : ""}`), h("span.grow"), button),
    h("div.legend", present.map((kind) => h("span", h(`span.chip.${kindClass(kind)}`, kind), h("span.quiet", KINDS[kind] ?? "")))),
    place,
    record.ids.length < record.count ? h("p.quiet", `The first ${number(record.ids.length)} of ${number(record.count)} tokens are on this page.`) : null,
  ];
}

const kindClass = (kind) => (kind in KINDS ? `k-${kind}` : "k-context");
const wordOf = (page, id) => page.words.get(id) ?? `#${id}`;

function plainTokens(page, record) {
  return h("pre.plain", record.spans.map(([start, end, kind]) =>
    h(`span.${kindClass(kind)}`, record.ids.slice(start, end).map((id) => wordOf(page, id) + page.joiner).join(""))));
}

// A sampled token is underlined the more, the less probable it was when it was sampled.
function chips(page, record) {
  const list = h("div.tokens");
  let nth = 0;
  for (const [start, end, kind, weight] of record.spans) {
    for (let at = start; at < Math.min(end, record.ids.length); at += 1) {
      const id = record.ids[at];
      const sampled = kind === "sampled";
      const logprob = sampled ? record.logprobs[nth] : null;
      const allowed = sampled ? record.allowed?.[nth] : null;
      if (sampled) nth += 1;
      const word = wordOf(page, id);
      const masked = sampled && weight === 0 ? ".masked" : "";
      const surprise = isNumber(logprob) ? 1 - Math.exp(logprob) : 0;
      const chip = h(`span.chip.${kindClass(kind)}${masked}`, { style: { "--surprise": String(surprise.toFixed(3)) } }, word.replaceAll("\n", "↵").replaceAll("\t", "⇥") || "∅");
      list.append(tipped(chip, () => pairs([
        ["token", JSON.stringify(word)], ["id", String(id)], ["position", String(at)], ["kind", kind],
        sampled ? ["log-prob", isNumber(logprob) ? `${fixed(logprob, 4)}  (${percent(Math.exp(logprob))})` : "–"] : null,
        ["weight", number(weight)],
        sampled ? ["could choose from", known(allowed) ? `${number(allowed)} ${allowed === 1 ? "token" : "tokens"}` : "all tokens"] : null,
      ].filter(Boolean))));
      if (word.includes("\n")) list.append(h("span.break"));
    }
  }
  return list;
}
