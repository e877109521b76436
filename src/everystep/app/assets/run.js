// The run of a task: how it went, its costs, its steps with votes, discarded answers and approvals.

const RUN_CURVES = [
  { title: "Samples a step", keys: ["samples"], wide: true },
  { title: "Share of contested steps", keys: ["contested"], share: true },
  { title: "Discarded answers a step", keys: ["discarded"] },
  { title: "Tokens", keys: ["tokens"] },
  { title: "Dollars", keys: ["usd"] },
];
const KINDS_OF_STEPS = [["", "all"], ["contested", "contested"], ["flags", "with discarded answers"], ["attempts", "tried again"], ["approvals", "asked about"], ["invalid", "not valid"]];

function runOverview(page) {
  const { end, success, why } = page.state;
  const curves = RUN_CURVES.map((curve) => panel(page.curve, "at", curve, new Set())).filter(Boolean);
  return [
    h("section.intro", h("div.row", h("h1", page.name), h("span.grow"),
      h(`span.mark.${end === "done" ? "good" : end ? "bad" : "open"}`, end ? `ended: ${end}` : "not ended"), known(success) ? outcomeMark(success) : null),
    h("p.lead", page.summary), why ? h("p.warn", why) : null, tiles(page)),
    page.notes.length ? h("ul.notes", page.notes.map((note) => h("li", note))) : null,
    curves.length ? h("section", h("h2", "Costs over the steps"), h("div.charts", curves)) : null,
    page.approvals.length ? h("section", h("h2", "Questions and answers"), approvalTable(page.approvals)) : null,
    h("section.two",
      page.config.length ? h("div", h("h2", "Configuration"), pairs(page.config)) : null,
      page.flags.length || page.causes.length ? h("div",
        page.flags.length ? [h("h2", "Discarded answers"), pairs(page.flags.map(([name, count]) => [name, number(count)]))] : null,
        page.causes.length ? [h("h2", "Attempts that did not count"), pairs(page.causes.map(([name, count]) => [name, number(count)]))] : null) : null),
  ];
}

function approvalTable(rows) {
  return h("div.scroll", h("table.terms", h("thead", h("tr", ["", "step", "action", "effect", "by", "reason", "time"].map((name) => h("th", name)))),
    h("tbody", rows.map((row) => h("tr",
      h("td", h(`span.mark.${{ granted: "good", edited: "good", asked: "open" }[row.what] ?? "bad"}`, row.what)),
      h("td", h("code", row.step)), h("td", row.action ? h("code", row.action) : ""), h("td", row.effect), h("td", row.by), h("td", row.reason),
      h("td", row.time ? new Date(row.time * 1000).toISOString().slice(0, 19).replace("T", " ") : ""))))));
}

function stepsOf(page, current) {
  const wanted = { contested: (step) => step.contested, flags: (step) => step.flags, attempts: (step) => step.attempts, approvals: (step) => step.approvals, invalid: (step) => !step.valid }[current.only];
  return page.steps.filter((step) => (!wanted || wanted(step)) && (!current.node || step.node === current.node));
}

function runSteps(page, current) {
  const some = stepsOf(page, current);
  const at = Math.max(0, some.findIndex((step) => step.id === current.step));
  const step = some[at];
  const nodes = [...new Set(page.steps.map((one) => one.node).filter(Boolean))];
  return [
    h("section", h("div.row", h("h1", "Steps"), h("span.quiet", `${number(some.length)} of ${number(page.steps.length)} on this page`), h("span.grow"),
      choice("Show", KINDS_OF_STEPS, current.only ?? "", (only) => go({ ...current, view: "steps", only, step: "" })),
      nodes.length ? choice("Plan step", [["", "all"], ...nodes.map((name) => [name, name])], current.node ?? "", (node) => go({ ...current, view: "steps", node, step: "" })) : null)),
    step ? h("section.steps",
      h("div.side", h("ol.rail", some.map((one, index) => h("li", h("a", { href: address({ ...current, view: "steps", step: one.id }), "aria-current": index === at ? "step" : null },
        h("span.n", number(one.index)), h(one.valid ? "span.act" : "span.act.invalid", one.action), h("span", stepMarks(one))))))),
      stepPanel(step)) : h("p.quiet", "No step is like this."),
  ];
}

function stepMarks(step) {
  const marks = [[step.contested, "⚖", "samples did not agree"], [step.flags, "⚑", "answers were discarded"], [step.attempts, "↻", "tried again"], [step.approvals, "?", "somebody was asked"]];
  return marks.filter(([is]) => is).map(([, mark, title]) => h("span.small", { title }, mark));
}

function stepPanel(step) {
  const cost = Object.entries(step.cost ?? {}).map(([name, value]) => [name.replaceAll("_", " "), number(value)]);
  return h("article.step",
    h("div.row", h("h2", `Step ${number(step.index)}`), h("code", step.id), step.node ? h("a", { href: address({ view: "plan", node: step.node }) }, `plan step ${step.node}`) : null, step.undone ? h("span.mark.bad", "taken back") : null),
    h("h3", "What the agent saw"), h("pre", step.observation ?? ""),
    h("h3", "What it did"), h(step.valid ? "pre.action" : "pre.action.invalid", step.calls ? step.calls.join("\n") : step.action ?? ""),
    step.valid ? null : h("p.warn", `not valid: ${step.reason ?? ""}`),
    step.tally ? [h("h3", "Votes"), voteBars(step.tally), step.why ? h("p.warn", step.why) : null] : null,
    step.flags ? [h("h3", "Discarded answers"), step.flags.map((flag) => h("div.discarded", h("p", h("span.mark.bad", flag.flag), ` sample ${number(flag.sample)}: ${flag.reason}`), h("pre", flag.text)))] : null,
    step.attempts ? [h("h3", "Attempts that did not count"), h("ul", step.attempts.map((one) => h("li", h("span.mark.bad", one.cause), ` ${one.step}: ${one.reason}`, one.action ? h("pre", one.action) : null)))] : null,
    step.approvals ? [h("h3", "Questions and answers"), approvalTable(step.approvals)] : null,
    step.verdicts ? [h("h3", "Verdicts"), pairs(step.verdicts.map((one) => [one.judge, `${number(one.score)} ${one.reason}`]))] : null,
    h("div.numbers", h("div.cell", h("div.label", "reward"), h("div.value", number(step.reward))), cost.map(([name, value]) => h("div.cell", h("div.label", name), h("div.value", value)))));
}

function voteBars(tally) {
  const most = Math.max(...tally.map(([, count]) => count), 1);
  return h("div.votes", tally.map(([key, count], at) => h("div.vote", h("span.n", number(count)), h("i", { style: { "--size": `${100 * count / most}%` } }), h(at ? "span" : "strong", key))));
}
