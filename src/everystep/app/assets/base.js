// Elements, text and numbers. Data reaches the page through text nodes only, never as markup.

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\p{Surrogate}]/gu;

// Control and direction characters and broken halves of characters are shown, not obeyed: model output may hold any of them.
function visible(text) {
  return String(text).replace(HIDDEN, (char) => {
    const code = char.charCodeAt(0);
    return code < 32 ? String.fromCharCode(0x2400 + code) : `⟨${code.toString(16).padStart(4, "0")}⟩`;
  });
}

// h("p.quiet", {title: "…", on: {click}}, "text", element, [more])
function h(name, ...parts) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const part of parts.flat(Infinity)) {
    if (part === null || part === undefined || part === false) continue;
    if (part instanceof Node) element.append(part);
    else if (typeof part === "object") {
      const { on, style, ...attributes } = part;
      for (const [event, listener] of Object.entries(on ?? {})) element.addEventListener(event, listener);
      for (const [property, value] of Object.entries(style ?? {})) element.style.setProperty(property, value);
      for (const [key, value] of Object.entries(attributes)) {
        if (value === true) element.setAttribute(key, "");
        else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
      }
    } else element.append(document.createTextNode(visible(part)));
  }
  return element;
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const known = (value) => value !== null && value !== undefined;
const last = (list) => list[list.length - 1];
const group3 = (digits) => digits.replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");

// Three significant digits, thin spaces in thousands, a real minus sign, an en dash for "unknown".
function number(value, digits = 3) {
  if (!isNumber(value)) return known(value) ? String(value) : "–";
  const size = Math.abs(value);
  let text;
  if (Number.isInteger(value) && size < 1e12) text = group3(String(size));
  else if (size !== 0 && (size < 1e-3 || size >= 1e9)) text = size.toExponential(2);
  else if (size >= 1000) text = group3(size.toFixed(0));
  else text = String(Number(size.toPrecision(digits)));
  return (value < 0 ? "−" : "") + text;
}

const signed = (value, digits = 3) => (isNumber(value) && value > 0 ? "+" : "") + number(value, digits);
const fixed = (value, places = 3) => (isNumber(value) ? (value < 0 ? "−" : "") + Math.abs(value).toFixed(places) : "–");
const percent = (value) => (isNumber(value) ? `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)}\u202f%` : "–");

function duration(seconds) {
  if (!isNumber(seconds)) return "–";
  if (seconds < 60) return `${number(seconds, 2)}\u202fs`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}\u202fmin ${Math.round(seconds % 60)}\u202fs`;
  return `${Math.floor(minutes / 60)}\u202fh ${minutes % 60}\u202fmin`;
}

// The address after '#' is the whole state of the page, so every view can be linked to.
const state = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

function address(values) {
  const kept = Object.entries(values).filter(([, value]) => known(value) && value !== "");
  return `#${new URLSearchParams(kept)}`;
}

const go = (values) => { location.hash = address(values); };
const replace = (values) => history.replaceState(null, "", address(values));

// One tip for the whole page: `tips` maps an element to the function that makes its content.
const tips = new WeakMap();

function tipped(element, content) {
  tips.set(element, content);
  return element;
}

function showTip(event) {
  const tip = document.getElementById("tip");
  let element = event.target;
  while (element instanceof Element && !tips.has(element)) element = element.parentElement;
  if (!(element instanceof Element)) { tip.hidden = true; return; }
  tip.replaceChildren(tips.get(element)());
  tip.hidden = false;
  const box = element.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8));
  const below = box.bottom + 6;
  const top = below + tip.offsetHeight > innerHeight ? box.top - tip.offsetHeight - 6 : below;
  tip.style.setProperty("left", `${left}px`);
  tip.style.setProperty("top", `${Math.max(8, top)}px`);
}

const pairs = (entries) => h("dl.pairs", entries.map(([name, value]) => [h("dt", name), h("dd", value)]));

function outcomeMark(success) {
  if (success === true) return h("span.mark.good", "✓ solved");
  if (success === false) return h("span.mark.bad", "✗ not solved");
  return h("span.mark.open", "– undecided");
}
