"use strict";
// The page's own behaviour: sorting, filtering, choosing rows, and handing their numbers to Vega, which draws.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { rows, plots } = data;
  const table = document.getElementById("rows");
  const lines = [...table.querySelectorAll("tr.row")];
  const numberOf = (line) => Number(line.dataset.row);
  const element = (id) => document.getElementById(id);

  // Sorting, within each dataset and model. Rows without a value come last, whichever way.
  function valueOf(line, key) {
    const position = [...table.tHead.rows[0].cells].findIndex((cell) => cell.firstElementChild.dataset.sort === key);
    const cell = line.cells[position];
    if (cell.classList.contains("setting") || cell.classList.contains("first")) {
      const text = (cell.querySelector(".wide") ?? cell).textContent;
      return text === "" ? null : Number.isNaN(Number(text)) ? text : Number(text);
    }
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  }

  function compare(one, other, sign) {
    if (one === null || other === null) return (one === null) - (other === null);
    if (typeof one === typeof other) return sign * (one < other ? -1 : one > other ? 1 : 0);
    return typeof one === "number" ? -1 : 1;
  }

  function sort(header) {
    const key = header.firstElementChild.dataset.sort;
    const sign = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    for (const body of table.tBodies) {
      const members = [...body.querySelectorAll("tr.row")].map((line) => [valueOf(line, key), line]);
      members.sort((one, other) => compare(one[0], other[0], sign) || numberOf(one[1]) - numberOf(other[1]));
      body.append(...members.map(([, line]) => line));
    }
  }

  for (const header of table.tHead.rows[0].cells) {
    header.firstElementChild.addEventListener("click", () => sort(header));
  }

  // Filtering: all words, in any order, and one value of each setting.
  const selects = [...document.querySelectorAll("#filters select")];
  const words = lines.map((line) => {
    const { label } = rows[numberOf(line)];
    return `${label} ${JSON.parse(line.dataset.choices).join(" ")}`.toLowerCase();
  });

  function filter() {
    const wanted = element("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    lines.forEach((line, i) => {
      const choices = JSON.parse(line.dataset.choices);
      const kept = wanted.every((word) => words[i].includes(word))
        && selects.every((select) => select.value === "" || choices[Number(select.dataset.column)] === select.value);
      line.hidden = !kept;
      shown += kept;
    });
    for (const body of table.tBodies) body.hidden = !body.querySelector("tr.row:not([hidden])");
    element("shown").textContent = shown === lines.length ? "" : `${shown} of ${lines.length} rows`;
  }

  element("filters").addEventListener("input", filter);
  element("filters").addEventListener("submit", (event) => event.preventDefault());

  // Choosing: the ticked rows, in the order of the table as it was written.
  const boxOf = (line) => line.querySelector("input");
  const chosen = () => lines.filter((line) => boxOf(line).checked).map(numberOf).sort((one, other) => one - other);
  const views = {};

  const shownBlock = () => Number(element("block") ? element("block").value : plots.blocks[0]?.[0] ?? 0);
  const calibration = () => (element("calibration") ? element("calibration").value : plots.calibrations[0]?.[0]);

  function binsOf(i) {
    const bins = rows[i].bins[calibration()];
    if (!bins) return [];
    return bins.lo.map((lo, b) => ({
      series: rows[i].label, lo, hi: bins.hi[b], n: bins.n[b],
      confidence: bins.confidence[b], accuracy: bins.accuracy[b], ece: bins.ece,
    }));
  }

  function epochsOf(i) {
    return Object.entries(rows[i].epochs).flatMap(([quantity, points]) => points.map(
      ([epoch, mean, low, high]) => ({ quantity, series: rows[i].label, epoch, mean, low, high })));
  }

  function pointOf(i) {
    const [x, y] = plots.axes.map((axis) => rows[i].cells[axis]);
    return { row: i, series: rows[i].label, x: x[0], x_low: x[1], x_high: x[2], y: y[0], y_low: y[1], y_high: y[2] };
  }

  const inBlock = (i) => rows[i].block === shownBlock();
  const drawable = (point) => point.x !== null && point.y !== null;
  const live = {
    reliability: () => ({ bins: chosen().flatMap(binsOf) }),
    training: () => ({ epochs: chosen().flatMap(epochsOf) }),
    scatter: () => ({
      others: rows.map((row, i) => i).filter(inBlock).map(pointOf).filter(drawable),
      chosen: chosen().filter(inBlock).map(pointOf).filter(drawable),
    }),
    sweep: () => ({}),
  };

  function config() {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.scheme = dark ? "dark" : "light";
    const theme = plots.themes[dark ? "dark" : "light"];
    const merged = { ...theme, ...plots.screen };
    for (const part of ["point", "bar", "legend"]) merged[part] = { ...theme[part], ...plots.screen[part] };
    return merged;
  }

  async function draw(name) {
    const spec = name === "sweep" ? plots.sweeps[shownBlock()]?.spec : plots.specs[name];
    if (name === "sweep") {
      element("sweep-figure").hidden = !spec;
      if (spec) element("swept").textContent = plots.sweeps[shownBlock()].of;
    }
    views[name]?.finalize();
    delete views[name];
    if (!spec) return;
    const datasets = live[name]();
    const columns = innerWidth < 640 ? { columns: 1 } : {}; // plots of one figure below one another on a phone
    const options = {
      actions: false, ast: true, logLevel: 1, // errors: that there is nothing to draw yet is no news
      renderer: "svg", config: config(), defaultStyle: false,
      tooltip: { disableDefaultStyle: true, id: "vg-tooltip-element" },
    };
    const result = await vegaEmbed(`#${name}`, { ...spec, ...(spec.concat ? columns : {}), datasets: { ...spec.datasets, ...datasets } }, options);
    views[name] = result.view;
    if (name === "scatter") {
      result.view.addEventListener("click", (event, item) => {
        const row = item?.datum?.row;
        if (row === undefined) return;
        const box = boxOf(lines.find((line) => numberOf(line) === row));
        box.checked = !box.checked;
        update();
      });
    }
  }

  async function update() {
    const numbers = chosen();
    for (const line of lines) line.classList.toggle("chosen", boxOf(line).checked);
    const many = numbers.length > 7 ? "; more than seven are hard to tell apart" : "";
    element("chosen").textContent = numbers.length
      ? `Of the ticked row${numbers.length > 1 ? "s" : ""} of the table${many}.`
      : "Tick a row of the table to see it here.";
    for (const [name, view] of Object.entries(views)) {
      for (const [source, values] of Object.entries(live[name]())) view.data(source, values);
      view.resize();
      await view.runAsync();
    }
  }

  const names = ["reliability", "scatter", "training", "sweep"].filter((name) => element(name));
  let drawing = Promise.resolve(); // one after another: a change of scheme may come while figures are drawn
  function drawAll(some = names) {
    drawing = drawing.then(async () => { for (const name of some) await draw(name); });
    return drawing;
  }

  table.addEventListener("change", () => { drawing = drawing.then(update); });
  element("calibration")?.addEventListener("change", () => { drawing = drawing.then(update); });
  element("block")?.addEventListener("change", () => drawAll(names.filter((name) => name === "scatter" || name === "sweep")));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());

  // What is long is put in only when it is looked at.
  for (const made of document.querySelectorAll(".config")) {
    made.addEventListener("toggle", () => {
      const row = Number(made.parentElement.dataset.row);
      const text = (config) => Object.keys(config).sort().map((key) => `${key}: ${config[key]}\n`).join("");
      const ids = [...made.parentElement.querySelectorAll(".run")].map((id) => id.textContent);
      const own = data.configs.runs[row].map((config, i) => [ids[i], text(config)]).filter(([, config]) => config);
      const parts = own.map(([id, config]) => `\nonly ${id}:\n${config}`);
      made.querySelector("pre").textContent = text({ ...data.configs.common, ...data.configs.rows[row] }) + parts.join("");
    });
  }

  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      let copied = true;
      try {
        await navigator.clipboard.writeText(code.textContent);
      } catch { // not from file:// in every browser
        getSelection().selectAllChildren(code);
        copied = document.execCommand("copy");
      }
      button.textContent = copied ? "copied" : "selected";
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
  }

  // Paper unfolds nothing by itself.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details.unfold:not([open])")];
    for (const one of folded) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of folded) one.open = false; });

  window.lossbench = { views, ready: drawAll().then(update) };
})();
