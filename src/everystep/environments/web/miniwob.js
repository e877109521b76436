(() => {
  const skip = new Set(["query", "reward-display", "sync-task-cover", "click-canvas"]);
  const inputs = new Set(["INPUT", "TEXTAREA", "SELECT", "BUTTON", "A", "OPTION"]);
  const shapes = new Set(["circle", "rect", "polygon", "ellipse", "line", "path", "text"]);
  const tidy = (text, most) => (text || "").replace(/\s+/g, " ").trim().slice(0, most);
  const page = window.__everystep = {nodes: []};
  const box = (node) => {
    if (node.nodeType !== 3) return node.getBoundingClientRect();
    const range = document.createRange();
    range.selectNodeContents(node);
    return range.getBoundingClientRect();
  };
  const told = (node, parent) => {
    const rect = box(node), svg = node instanceof SVGElement;
    const classes = svg ? node.getAttribute("class") : node.className;
    const one = {
      tag: node.nodeType === 3 ? "text" : node.tagName.toLowerCase(),
      x: Math.round(rect.left), y: Math.round(rect.top), w: Math.round(rect.width), h: Math.round(rect.height),
    };
    if (node.nodeType === 3) { one.text = tidy(node.data, 400); return one; }
    if (node.id) one.id = tidy(node.id, 30);
    if (classes) one.cls = tidy(classes, 60);
    if (node.title) one.title = tidy(node.title, 60);
    if (node.placeholder) one.hint = tidy(node.placeholder, 60);
    if (node.tagName === "INPUT") one.tag += "_" + node.type;
    if (/^(checkbox|radio)$/.test(node.type || "")) one.checked = node.checked;
    else if (node.tagName === "INPUT" || node.tagName === "TEXTAREA") one.value = (node.value || "").slice(0, 1000);
    if (node.tagName === "SELECT") {
      one.options = [...node.options].slice(0, 300).map((o) => tidy(o.text, 60));
      one.value = [...node.selectedOptions].map((o) => tidy(o.text, 60)).join(", ");
    }
    if (node.disabled) one.disabled = true;
    if (document.activeElement === node && node !== document.body) one.focused = true;
    const style = getComputedStyle(node);
    if (svg) {
      if (shapes.has(node.tagName)) one.fill = node.getAttribute("fill") || style.fill;
      if (node.tagName === "polygon") one.corners = node.points.numberOfItems;
    } else if (!/^rgba?\(0, 0, 0(, 0)?\)$/.test(style.backgroundColor)) one.fill = style.backgroundColor;
    return one;
  };
  const walk = (node, list) => {
    for (const child of node.childNodes) {
      if (child.nodeType === 3) {
        if (/\S/.test(child.data) && node.children.length && !(node instanceof HTMLSelectElement)) {
          const rect = box(child);
          if (rect.width && rect.height) { list.push(told(child)); page.nodes.push(child); }
        }
        continue;
      }
      if (child.nodeType !== 1 || skip.has(child.id) || /^(SCRIPT|STYLE|BR|HEAD)$/.test(child.tagName)) continue;
      const style = getComputedStyle(child);
      if (style.display === "none") continue;
      const rect = child.getBoundingClientRect(), svg = child instanceof SVGElement;
      const visible = style.visibility !== "hidden" && (rect.width > 0 && rect.height > 0 || child.tagName === "line");
      if (visible) {
        const text = child.children.length ? "" : tidy(child.textContent, 400);
        const named = child.id || (svg ? child.getAttribute("class") : child.className);
        const leaf = !child.children.length;
        if (text || inputs.has(child.tagName) || (svg && shapes.has(child.tagName)) || (leaf && (named || child.tagName === "TD" || child.tagName === "IMG" || style.backgroundColor !== "rgba(0, 0, 0, 0)"))
            || child.tagName === "CANVAS" || child.tagName === "TR" || (child.getAttribute("role") || child.onclick) && named) {
          const one = told(child);
          if (text && child.tagName !== "TEXTAREA") one.text = text;
          list.push(one);
          page.nodes.push(child);
        }
      }
      if (child.tagName !== "SELECT" && child.tagName !== "CANVAS") walk(child, list);
    }
    return list;
  };
  page.look = () => { page.nodes = []; return walk(document.body, []); };
  page.settle = async (ms) => {
    await new Promise((done) => setTimeout(done, ms || 0));
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
  };
  page.state = async (ms) => {
    if (!page.done()) await page.settle(ms);
    return {done: page.done(), raw: WOB_RAW_REWARD_GLOBAL, query: page.query(), list: page.done() ? [] : page.look()};
  };
  page.query = () => { // some pages give the sentence's parts beside it; they are not shown
    const told = core.getUtterance();
    return typeof told === "string" ? told : told.utterance;
  };
  page.done = () => WOB_DONE_GLOBAL;
  page.place = (n) => {
    const node = page.nodes[n];
    if (!node || !node.isConnected) return null;
    const whole = node.nodeType === 3 ? node.parentElement : node;
    if (whole.scrollIntoViewIfNeeded) whole.scrollIntoViewIfNeeded();
    const rect = box(node);
    return [rect.left + rect.width / 2, rect.top + rect.height / 2];
  };
  page.option = (n, text) => {
    const node = page.nodes[n];
    if (!node || node.tagName !== "SELECT") return false;
    const at = [...node.options].findIndex((o) => tidy(o.text, 60) === text);
    if (at < 0) return false;
    node.focus();
    if (node.multiple) node.options[at].selected = true;
    else node.selectedIndex = at;
    node.dispatchEvent(new Event("input", {bubbles: true}));
    node.dispatchEvent(new Event("change", {bubbles: true}));
    return true;
  };
  page.field = (n) => {
    const node = page.nodes[n];
    return Boolean(node) && (/^(text|password|number|search|tel|email|url|date|time)$/.test(node.type || "") || node.tagName === "TEXTAREA" || node.isContentEditable === true)
      && !node.disabled;
  };
  page.clear = (n) => {
    const node = page.nodes[n];
    node.focus();
    if (node.select) node.select();
    else document.execCommand("selectAll");
  };
  page.write = (n, text) => { // fields of dates and times are filled as their picker would
    const node = page.nodes[n];
    if (node.type !== "date" && node.type !== "time") return false;
    node.value = text;
    node.dispatchEvent(new Event("input", {bubbles: true}));
    node.dispatchEvent(new Event("change", {bubbles: true}));
    return true;
  };
  page.scroll = (n, by) => {
    const node = page.nodes[n];
    if (!node) return false;
    const whole = node.nodeType === 3 ? node.parentElement : node;
    let at = whole;
    while (at && at.scrollHeight <= at.clientHeight + 1) at = at.parentElement;
    (at || whole).scrollTop += by;
    return true;
  };
  core.EPISODE_MAX_TIME = 86400000;
  if (window.jQuery) jQuery.fx.off = true;
})()
