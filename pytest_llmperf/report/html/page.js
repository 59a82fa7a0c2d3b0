"use strict";
// Draws the chosen round of each measurement from the numbers in #timelines. All names go in as text, never as markup.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = { wide: 900, narrow: 340 }, LEFT = { wide: 150, narrow: 8 }, MOST_TICKS = { wide: 7, narrow: 3 };
  const small = matchMedia("(max-width: 45rem)");
  const timelines = JSON.parse(document.getElementById("timelines").textContent);

  const add = (parent, name, attributes, text) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  };
  const row = (body, cells) => {
    const line = body.insertRow();
    cells.forEach((cell) => {
      const added = line.insertCell();
      if (typeof cell === "number") added.className = "number";
      added.textContent = typeof cell === "number" ? cell.toFixed(3) : cell;
    });
  };
  // Unpacks a request as timeline.py packs it, in milliseconds.
  const unpack = ([sent, waiting, prefill, done, tokens, ...steps]) => {
    let at = 0;
    const arrivals = steps.map((step) => (at += step) / 1000);
    const first = arrivals.length ? arrivals[0] : done / 1000;
    const says = waiting >= 0;
    return { sent: sent / 1000, first, done: done / 1000, tokens, arrivals, says,
             waiting: says ? waiting / 1000 : first - sent / 1000, prefill: says ? prefill / 1000 : 0 };
  };
  const stepOf = (end, most) => {
    const size = 10 ** Math.floor(Math.log10(end / most || 1));
    return [1, 2, 5, 10].map((factor) => factor * size).find((step) => end / step <= most);
  };

  const draw = (holder, round, part) => {
    const kind = small.matches ? "narrow" : "wide";
    const width = WIDTH[kind], left = LEFT[kind], head = kind === "narrow" ? 20 : 4, high = 34 + head;
    const runs = round[part].map((run) => ({ ...run, requests: run.requests.map(unpack) }));
    const end = Math.max(...runs.flatMap((run) => run.requests.map((request) => request.done)), 0.001);
    const x = (ms) => (left + ((width - left - 12) * ms) / end).toFixed(2);
    const body = holder.querySelector("tbody");
    body.replaceChildren();
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${width} ${runs.length * high + 30}`);
    svg.setAttribute("role", "img");
    for (let ms = 0, step = stepOf(end, MOST_TICKS[kind]); ms <= end; ms += step) {
      add(svg, "line", { x1: x(ms), x2: x(ms), y1: 0, y2: runs.length * high });
      add(svg, "text", { x: x(ms), y: runs.length * high + 16, "text-anchor": !ms ? "start" : x(ms) > width - 30 ? "end" : "middle" }, `${+ms.toPrecision(6)} ms`);
    }
    const edges = part === "together" ? round.edges : [], critical = part === "together" ? round.critical : [];
    const isCritical = (agent, turn) => critical.some(([a, t]) => a === agent && t === turn);
    const said = runs.map((run, index) => {
      const top = index * high + head;
      add(svg, "text", kind === "narrow" ? { x: 8, y: top - 5 } : { x: 0, y: top + 20 }, `${run.agent} (${run.instance})`);
      run.requests.forEach((request, turn) => {
        const box = (name, from, to) => add(svg, "rect", { class: name, x: x(from), y: top, height: 26, width: Math.max(x(to) - x(from), 0) });
        box("waiting", request.sent, request.sent + request.waiting);
        box("prefill", request.sent + request.waiting, request.first);
        box("decode", request.first, request.done);
        if (isCritical(index, turn)) box("critical", request.sent, request.done);
        add(svg, "path", { class: "tokens", d: request.arrivals.map((ms) => `M${x(ms)} ${top + 4}v18`).join("") });
        row(body, [run.agent, run.instance, String(turn + 1), request.sent, request.says ? request.waiting : "unknown",
                   request.says ? request.prefill : "unknown", request.first - request.sent, request.done - request.first, request.done, String(request.tokens)]);
      });
      const last = Math.max(...run.requests.map((request) => request.done));
      return `${run.agent}: done after ${last.toFixed(1)} ms`;
    });
    for (const [from, before, to, after] of edges) {
      const down = to > from, next = critical.findIndex(([a, t]) => a === to && t === after);
      const onPath = next > 0 && critical[next - 1][0] === from && critical[next - 1][1] === before;
      const start = from * high + head + (down ? 26 : 0), end = to * high + head + (down ? 0 : 26);
      add(svg, "path", { class: onPath ? "edge critical" : "edge",
                         d: `M${x(runs[from].requests[before].done)} ${start}L${x(runs[to].requests[after].sent)} ${end}` });
    }
    if (critical.length) {
      const chain = critical.map(([agent]) => runs[agent].agent).filter((name, at, all) => name !== all[at - 1]);
      said.push(`critical path: ${chain.join(" > ")}`);
    }
    svg.setAttribute("aria-label", `Round ${round.number}, ${part}: ${said.join("; ")}`);
    holder.querySelector(".drawing").replaceChildren(svg);
    holder.querySelector(".said").textContent = `Round ${round.number}, ${part}: ${said.join("; ")}.`;
  };

  document.querySelectorAll(".timeline").forEach((holder, index) => {
    const rounds = timelines[index].rounds;
    const choice = holder.querySelector("select.round"), part = holder.querySelector("select.part");
    rounds.forEach((request, at) => choice.add(new Option(`round ${request.number}`, at)));
    const show = () => draw(holder, rounds[choice.value], part.value);
    const move = (by) => { choice.value = (+choice.value + by + rounds.length) % rounds.length; show(); };
    holder.querySelector(".before").addEventListener("click", () => move(-1));
    holder.querySelector(".after").addEventListener("click", () => move(1));
    for (const select of [choice, part]) select.addEventListener("change", show);
    small.addEventListener("change", show);
    if (rounds.length) { choice.value = 0; show(); }
  });

  document.querySelectorAll("figure svg [aria-roledescription][aria-label]").forEach((mark) => {
    if (!mark.children.length) add(mark, "title", {}, mark.getAttribute("aria-label"));
  });

  const button = document.getElementById("theme"), themes = ["as the system", "light", "dark"];
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(button.dataset.now) + 1) % themes.length];
    button.dataset.now = next;
    button.textContent = `Colours: ${next}`;
    if (next === themes[0]) delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
  });
})();
