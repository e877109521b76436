// The overview: what the run is, how it went, and its curves.

const CURVES = [
  { title: "Success", keys: ["heldout_success", "heldout_greedy", "success"], share: true, wide: true },
  { title: "Reward per episode", keys: ["reward"] },
  { title: "Steps per episode", keys: ["steps"] },
  { title: "Entropy", keys: ["entropy"] },
  { title: "KL", keys: ["kl"] },
  { title: "Clip fraction", keys: ["clip_fraction"], share: true },
  { title: "Gradient norm", keys: ["grad_norm"] },
  { title: "Loss", keys: ["loss"] },
  { title: "Tokens per second", keys: ["tokens_per_s"] },
];
const LABELS = {
  heldout_success: "held-out, sampled",
  heldout_greedy: "held-out, greedy",
  success: "training episodes",
};
const AXES = [
  ["iteration", "iteration"],
  ["environment_steps", "environment steps"],
  ["sampled_tokens", "sampled tokens"],
  ["elapsed_s", "elapsed seconds"],
];
const charts = [];

function overview(page, current) {
  const phases = [...new Set(page.metrics.map((row) => row.phase ?? "").filter((phase) => phase !== "eval"))];
  if (!phases.length) phases.push("");
  const phase = phases.includes(current.phase) ? current.phase : phases.includes("train") ? "train" : last(phases);
  const rows = merged(page.metrics.filter((row) => inPhase(row, phase, phases)));
  const axes = AXES.filter(([key]) => key === "iteration" || grows(rows, key));
  const axis = axes.some(([key]) => key === current.x) ? current.x : "iteration";
  const choose = (values) => go({ view: "overview", phase, x: axis, ...values });

  const drawn = new Set(["iteration", "phase", "heldout_low", "heldout_high", "heldout_greedy_low", "heldout_greedy_high", ...page.counters]);
  const main = CURVES.map((curve) => panel(rows, axis, curve, drawn)).filter(Boolean);
  for (const curve of CURVES) for (const key of curve.keys) drawn.add(key);
  for (const [key] of AXES) drawn.add(key);
  const names = new Set(rows.flatMap((row) => Object.keys(row)).filter((key) => !drawn.has(key)));
  const more = [...names].sort().map((key) => panel(rows, axis, { title: key, keys: [key] }, drawn)).filter(Boolean);

  return [
    h("section.intro", h("h1", page.name), h("p.lead", page.summary), tiles(page)),
    page.notes.length ? h("ul.notes", page.notes.map((note) => h("li", note))) : null,
    h("section",
      h("div.row", h("h2", "Learning curves"), h("span.grow"),
        phases.length > 1 ? choice("Phase", phases.map((name) => [name, name || "run"]), phase, (value) => choose({ phase: value })) : null,
        axes.length > 1 ? choice("Against", axes, axis, (value) => choose({ x: value })) : null),
      main.length ? h("div.charts", main) : h("p.quiet", "This run has recorded no numbers in this phase yet."),
      more.length ? h("details", h("summary", `More numbers (${more.length})`), h("div.charts", more)) : null),
    h("section.two",
      page.config.length ? h("div", h("h2", "Configuration"), pairs(page.config)) : null,
      page.ledger.length ? h("div", h("h2", "What it cost"), pairs(page.ledger.map(([name, count]) => [name, number(count)]))) : null),
  ];
}

function inPhase(row, phase, phases) {
  const name = row.phase ?? "";
  return name === phase || (name === "eval" && (phase === "train" || phases.length === 1));
}

// Rows of one iteration (a training row and an evaluation row) make one point of the curves.
function merged(rows) {
  const points = new Map();
  rows.forEach((row, index) => {
    const key = isNumber(row.iteration) ? row.iteration : index;
    points.set(key, { iteration: key, ...points.get(key), ...row });
  });
  return [...points.values()].sort((one, other) => one.iteration - other.iteration);
}

function grows(rows, key) {
  const values = rows.map((row) => row[key]).filter(isNumber);
  return values.length > 1 && values.every((value, index) => index === 0 || value >= values[index - 1]) && last(values) > values[0];
}

function tiles(page) {
  return h("div.tiles", page.tiles.map(([name, value, hint]) =>
    h("div.tile", h("div.label", name), h("div.value", value), hint ? h("div.hint", hint) : null)));
}

function choice(label, options, value, change) {
  const select = h("select", { on: { change: () => change(select.value) } },
    options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
  return h("label.choice", `${label} `, select);
}

function panel(rows, axis, curve, skipped) {
  const keys = curve.keys.filter((key) => !skipped.has(key) && rows.some((row) => isNumber(row[key])));
  if (!keys.length) return null;
  const place = h("div.plot");
  const reading = h("output");
  charts.push({ place, reading, rows, axis, curve, keys });
  return h(curve.wide ? "figure.chart.wide" : "figure.chart", h("figcaption", reading, curve.title), place);
}

const shade = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function drawCharts() {
  for (const job of charts.splice(0)) {
    const { place, reading, rows, axis, curve, keys } = job;
    const points = rows.filter((row) => isNumber(row[axis]) && keys.some((key) => isNumber(row[key])));
    const data = [points.map((row) => row[axis])];
    const series = [{ label: axis.replaceAll("_", " "), value: (_, value) => number(value) }];
    const bands = [];
    const show = curve.share ? percent : number;
    keys.forEach((key, index) => {
      const column = points.map((row) => (isNumber(row[key]) ? row[key] : null));
      const low = points.map((row) => row.heldout_low ?? null);
      const high = points.map((row) => row.heldout_high ?? null);
      const band = key === "heldout_success" && low.some(isNumber) && high.some(isNumber);
      const few = column.filter(isNumber).length <= 60;
      data.push(column);
      series.push({
        label: LABELS[key] ?? key.replaceAll("_", " "),
        stroke: shade(`--line-${index + 1}`),
        width: index === 2 ? 1.25 : 2,
        dash: index === 1 ? [6, 4] : undefined,
        spanGaps: true,
        points: { show: few && index < 2, size: 5, fill: shade(`--line-${index + 1}`) },
        value: (_, value, __, at) => (band && known(at) && isNumber(low[at]) && isNumber(high[at])
          ? `${show(value)} [${percent(low[at])} to ${percent(high[at])}]` : show(value)),
      });
      if (band) {
        for (const edge of [high, low]) {
          data.push(edge);
          series.push({ label: "interval", class: "u-edge", stroke: "transparent", spanGaps: true, points: { show: false } });
        }
        bands.push({ series: [series.length - 2, series.length - 1], fill: shade("--band") });
      }
    });
    const text = { stroke: shade("--quiet"), grid: { stroke: shade("--grid"), width: 1 }, ticks: { stroke: shade("--grid"), width: 1, size: 4 }, font: "12px system-ui, sans-serif" };
    const size = () => ({ width: Math.max(240, place.clientWidth), height: curve.wide ? 280 : 170 });
    const plot = new uPlot({
      ...size(),
      series,
      bands,
      scales: { x: { time: false }, y: curve.share && curve.wide ? { range: [0, 1] } : {} },
      axes: [
        { ...text, size: 32, incrs: axis === "iteration" ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] : undefined, values: (_, ticks) => ticks.map((tick) => number(tick)) },
        { ...text, size: 56, values: (_, ticks) => ticks.map((tick) => show(tick)) },
      ],
      cursor: { sync: { key: "run" }, points: { size: 7 }, drag: { x: true, y: false } },
      legend: { show: keys.length > 1 },
      hooks: keys.length > 1 ? {} : {
        setCursor: [(chart) => {
          const at = chart.cursor.idx;
          reading.textContent = known(at) ? `${number(data[0][at])}: ${show(data[1][at])}` : "";
        }],
      },
    }, data, place);
    const observer = new ResizeObserver(() => (place.isConnected ? place.clientWidth && plot.setSize(size()) : observer.disconnect()));
    observer.observe(place);
  }
}
