// The overview: what the run is, how it went, and its curves.

const CURVES = [
  { title: "Success", keys: ["heldout_success", "heldout_greedy", "success"], share: true, wide: true },
  { title: "Reward per episode", keys: ["reward"] },
  { title: "Steps per episode", keys: ["steps"] },
  { title: "Entropy", keys: ["entropy"] },
  { title: "KL", keys: ["approximate_kl", "kl"] },
  { title: "Clip fraction", keys: ["clip_fraction"], share: true },
  { title: "Gradient norm", keys: ["grad_norm"] },
  { title: "Loss", keys: ["loss"] },
  { title: "Tokens per second", keys: ["tokens_per_second"] },
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
  ["seconds", "elapsed seconds"],
];
const charts = [];

function overview(page, current) {
  const { main, before, name } = placed(page.metrics);
  const all = [...before, ...main];
  const axes = AXES.filter(([key]) => key === "iteration" || grows(all, key));
  const axis = axes.some(([key]) => key === current.x) ? current.x : "iteration";

  const hidden = new Set(["iteration", "at", "phase", "seconds", "heldout_low", "heldout_high", "heldout_greedy_low", "heldout_greedy_high", ...page.counters]);
  const curves = CURVES.map((curve) => panel(curve.wide ? all : main, axis, curve, hidden)).filter(Boolean);
  const listed = new Set(CURVES.flatMap((curve) => curve.keys));
  const rest = (rows, skip) => [...new Set(rows.flatMap((row) => Object.keys(row)))].filter((key) => !hidden.has(key) && !skip.has(key)).sort()
    .map((key) => panel(rows, axis, { title: key.replaceAll("_", " "), keys: [key] }, hidden)).filter(Boolean);
  const more = rest(main, listed);
  const warm = rest(before, new Set(["heldout_success", "heldout_greedy"]));

  return [
    h("section.intro", h("h1", page.name), h("p.lead", page.summary), tiles(page)),
    page.notes.length ? h("ul.notes", page.notes.map((note) => h("li", note))) : null,
    h("section",
      h("div.row", h("h2", "Learning curves"), h("span.grow"),
        axes.length > 1 ? choice("Against", axes, axis, (value) => go({ view: "overview", x: value })) : null),
      before.length && main.length && axis === "iteration" ? h("p.quiet", `Shaded, below 0: what came before ${name}.`) : null,
      curves.length ? h("div.charts", curves) : h("p.quiet", "This run has recorded no numbers yet."),
      more.length ? h("details", h("summary", `More numbers (${more.length})`), h("div.charts", more)) : null,
      warm.length ? h("details", h("summary", `Numbers from before ${name} (${warm.length})`), h("div.charts", warm)) : null),
    h("section.two",
      page.config.length ? h("div", h("h2", "Configuration"), pairs(page.config)) : null,
      page.ledger.length ? h("div", h("h2", "What it cost"), pairs(page.ledger.map(([name, count]) => [name, number(count)]))) : null),
  ];
}

// Put rows on one line of iterations: those of the main phase where they say, those before it below zero.
// The rows of one iteration (a training row and a test row) make one point.
function placed(rows) {
  const phases = [...new Set(rows.map((row) => row.phase ?? "").filter((phase) => phase !== "eval" && phase !== "test"))];
  const name = phases.includes("train") ? "train" : last(phases) ?? "";
  const first = rows.findIndex((row) => (row.phase ?? "") === name);
  const earlier = rows.slice(0, Math.max(0, first));
  const points = new Map();
  rows.slice(Math.max(0, first)).forEach((row, index) => {
    const at = isNumber(row.iteration) ? row.iteration : index;
    points.set(at, { ...points.get(at), ...row, at });
  });
  return {
    name: name === "train" ? "training" : name || "the run",
    main: [...points.values()].sort((one, other) => one.at - other.at),
    before: earlier.map((row, index) => ({ ...row, at: index - earlier.length })),
  };
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

// Room around the values. A series that is constant but for rounding gets a band of its own size: ticks between
// its values would be finer than numbers are.
function rangeOf(_, low, high) {
  if (!isNumber(low) || !isNumber(high)) return [0, 1];
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (size < 1e-12) return [-1, 1];
  if (high - low <= 1e-5 * size) return [low - size / 2, high + size / 2];
  return uPlot.rangeNum(low, high, 0.1, true);
}

const spanOf = (_, low, high) => (isNumber(low) && high > low ? [low, high] : [(low ?? 0) - 1, (low ?? 0) + 1]);

function shadeBefore(chart, across) {
  const { left, top, width, height } = chart.bbox;
  const edge = Math.min(left + width, chart.valToPos(-0.5, "x", true));
  if (across !== "at" || !(chart.scales.x.min < -0.5) || edge <= left) return;
  chart.ctx.fillStyle = shade("--soft");
  chart.ctx.fillRect(left, top, edge - left, height);
}

const shade = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function drawCharts() {
  for (const job of charts.splice(0)) {
    const { place, reading, rows, axis, curve, keys } = job;
    const across = axis === "iteration" ? "at" : axis;
    const points = rows.filter((row) => isNumber(row[across]) && keys.some((key) => isNumber(row[key])));
    const data = [points.map((row) => row[across])];
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
      scales: { x: { time: false, range: spanOf }, y: { range: curve.wide && curve.share ? [0, 1] : rangeOf } },
      axes: [
        { ...text, size: 32, incrs: axis === "iteration" || axis === "at" ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] : undefined, values: (_, ticks) => ticks.map((tick) => number(tick)) },
        { ...text, size: 56, values: (_, ticks) => ticks.map((tick) => show(tick)) },
      ],
      cursor: { sync: { key: "run" }, points: { size: 7 }, drag: { x: true, y: false } },
      legend: { show: keys.length > 1 },
      hooks: {
        drawClear: [(chart) => shadeBefore(chart, across)],
        setCursor: [(chart) => {
          const at = chart.cursor.idx;
          if (keys.length === 1) reading.textContent = known(at) ? `${number(data[0][at])}: ${show(data[1][at])}` : "";
        }],
      },
    }, data, place);
    const fit = () => (place.isConnected ? place.clientWidth && plot.setSize(size()) : observer.disconnect());
    const observer = new ResizeObserver(() => requestAnimationFrame(fit));
    observer.observe(place);
  }
}
