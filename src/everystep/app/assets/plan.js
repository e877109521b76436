// The plan of a run as a graph: nodes in layers from top to bottom, each below what it needs, in SVG.

const STATUS = {
  pending: ["·", "waits"], ready: ["○", "ready"], running: ["▶", "running"], done: ["✓", "done"],
  failed: ["✗", "failed"], skipped: ["–", "skipped"], pruned: ["–", "given up"],
};
const BOX = { width: 196, height: 62, across: 22, down: 44, margin: 12 };

// Elements of SVG are made in the namespace of the one that stands in the page.
function svg(name, attributes, ...children) {
  const element = document.createElementNS(document.getElementById("ink").namespaceURI, name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (known(value) && value !== false) element.setAttribute(key, visible(value));
  }
  for (const child of children.flat(Infinity)) {
    if (known(child) && child !== false) element.append(child instanceof Node ? child : document.createTextNode(visible(child)));
  }
  return element;
}

// A node stands one layer below its parent, below all that its needs hold, and an alternative beside what it replaces.
function layered(nodes) {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const children = new Map();
  for (const node of nodes) children.set(node.parent, [...(children.get(node.parent) ?? []), node]);
  const ranks = new Map();
  const ends = new Map();
  const stack = [...nodes].reverse().map((node) => [node, "rank"]);
  const open = new Set();
  while (stack.length) {
    const [node, what] = stack[stack.length - 1];
    const done = what === "rank" ? ranks : ends;
    if (done.has(node.id)) { stack.pop(); continue; }
    const key = `${what} ${node.id}`;
    const first = !open.has(key);
    open.add(key);
    const wanted = what === "rank"
      ? [...(byId.has(node.parent) ? [[byId.get(node.parent), "rank"]] : []), ...node.needs.map((need) => [byId.get(need), "end"])]
      : [[node, "rank"], ...(children.get(node.id) ?? []).map((child) => [child, "end"])];
    const missing = wanted.filter(([one, kind]) => one && !(kind === "rank" ? ranks : ends).has(one.id) && !open.has(`${kind} ${one.id}`));
    if (first && missing.length) { stack.push(...missing); continue; }
    if (missing.length) { stack.push(...missing); continue; }
    if (what === "rank") {
      const above = byId.has(node.parent) ? (ranks.get(node.parent) ?? 0) + 1 : 0;
      ranks.set(node.id, Math.max(above, ...node.needs.map((need) => (ends.get(need) ?? -1) + 1), 0));
    } else {
      ends.set(node.id, Math.max(ranks.get(node.id) ?? 0, ...(children.get(node.id) ?? []).map((child) => ends.get(child.id) ?? 0)));
    }
    stack.pop();
  }
  const layers = [];
  for (const node of nodes) (layers[ranks.get(node.id)] ??= []).push(node);
  return layers.filter(Boolean);
}

function placedNodes(nodes) {
  const places = new Map();
  const layers = layered(nodes);
  const columns = Math.max(1, ...layers.map((layer) => layer.length));
  const middle = BOX.margin + (columns * (BOX.width + BOX.across) - BOX.across) / 2;
  layers.forEach((layer, depth) => {
    const wish = (node) => {
      const before = [...node.needs, node.parent].map((name) => places.get(name)).filter(Boolean);
      return before.length ? before.reduce((sum, one) => sum + one.x, 0) / before.length : middle;
    };
    const order = layer.map((node, at) => [wish(node), at, node]).sort((one, other) => one[0] - other[0] || one[1] - other[1]);
    const width = order.length * (BOX.width + BOX.across) - BOX.across;
    order.forEach(([, , node], at) => {
      const x = middle - width / 2 + at * (BOX.width + BOX.across) + BOX.width / 2;
      places.set(node.id, { x, y: BOX.margin + depth * (BOX.height + BOX.down), node });
    });
  });
  return { places, width: columns * (BOX.width + BOX.across) - BOX.across + 2 * BOX.margin, height: layers.length * (BOX.height + BOX.down) - BOX.down + 2 * BOX.margin + 16 };
}

const short = (text, letters) => (text.length > letters ? `${text.slice(0, letters - 1)}…` : text);

function edge(from, to, kind) {
  const [x1, y1, x2, y2] = [from.x, from.y + BOX.height, to.x, to.y];
  const bend = Math.max(20, (y2 - y1) / 2);
  const line = y2 > y1 ? `M${x1} ${y1}C${x1} ${y1 + bend} ${x2} ${y2 - bend} ${x2} ${y2 - 6}` : `M${x1} ${from.y}L${x2} ${to.y}`;
  return [svg("path", { d: line, class: `edge ${kind}` }), svg("path", { d: `M${x2} ${y2}l-4.5 -8h9z`, class: `head ${kind}` })];
}

function planGraph(plan, chosen, choose) {
  const { places, width, height } = placedNodes(plan.nodes);
  const edges = [];
  for (const { node, x, y } of places.values()) {
    for (const need of node.needs) if (places.has(need)) edges.push(edge(places.get(need), { x, y }, "need"));
    if (places.has(node.parent) && !node.needs.length) edges.push(edge(places.get(node.parent), { x, y }, "part"));
    const [origin, attempt] = node.id.split("~");
    const before = places.get(attempt > 1 ? `${origin}~${attempt - 1}` : origin);
    if (attempt && before) edges.push(svg("path", { d: `M${before.x} ${before.y + BOX.height}Q${(before.x + x) / 2} ${y + BOX.height + 26} ${x} ${y + BOX.height}`, class: "edge instead" }));
  }
  const boxes = [...places.values()].map(({ node, x, y }) => {
    const [mark, word] = STATUS[node.status] ?? ["", node.status];
    const act = () => choose(node.id);
    const box = svg("g", { class: `node s-${node.status}${node.id === chosen ? " chosen" : ""}`, transform: `translate(${x - BOX.width / 2} ${y})`, tabindex: "0", role: "button", "aria-label": `${node.id}, ${word}: ${node.instruction}` },
      svg("rect", { width: BOX.width, height: BOX.height, rx: node.composite ? 3 : 9 }),
      svg("text", { x: 10, y: 18, class: "top" }, `${mark} ${short(node.id, 12)}`),
      svg("text", { x: BOX.width - 10, y: 18, class: "word", "text-anchor": "end" }, node.composite ? `${word}, in parts` : word),
      svg("text", { x: 10, y: 36 }, short(node.instruction, 28)),
      svg("text", { x: 10, y: 52 }, node.instruction.length > 28 ? short(node.instruction.slice(27), 28) : ""));
    box.addEventListener("click", act);
    box.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); } });
    return box;
  });
  return h("div.graph", svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "The plan" }, edges, boxes));
}

function planView(page, current) {
  const { plan } = page;
  if (!plan) return [h("h1", "Plan"), h("p", "This run has no plan: it works on its task as a whole.")];
  const chosen = plan.nodes.find((node) => node.id === current.node);
  return [
    h("section", h("div.row", h("h1", "Plan"), h("span.grow"), plan.counts.map(([status, count]) => h(`span.mark.s-${status}`, `${STATUS[status][0]} ${number(count)} ${STATUS[status][1]}`))),
      h("p.quiet", "From top to bottom. A line runs from what is needed to what needs it; a dashed one from a step to its parts; a dotted one to what takes a failed step's place."),
      planGraph(plan, chosen?.id, (node) => go({ view: "plan", node }))),
    chosen ? nodeDetails(page, chosen) : h("p.quiet", "Choose a step of the plan to read it in full."),
  ];
}

function nodeDetails(page, node) {
  const steps = page.steps.filter((step) => step.node === node.id);
  const rows = [["status", `${STATUS[node.status][1]}`], ["instruction", node.instruction], ["done when", node.done], ["needs", node.needs.join(", ")],
    ["part of", node.parent], ["tool", node.tool], ["optional", node.optional ? "yes" : ""], ["reason", node.reason], ["result", node.result]];
  return h("section.step", h("h2", `Step ${node.place} of the plan: ${node.id}`),
    pairs(rows.filter(([, value]) => known(value) && value !== "")),
    steps.length ? h("p", h("a", { href: address({ view: "steps", node: node.id, step: steps[0].id }) }, `${number(steps.length)} steps were taken for it`))
      : h("p.quiet", "No step for it is on this page."));
}
