"use strict";
// Makes the page's plain tables sortable, filterable and clickable. What it shows comes from the
// document and from the island of trials, always as text, never as markup.
(() => {
  const byId = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (tag, text = "", attributes = {}) => {
    const made = document.createElement(tag);
    made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const trials = JSON.parse(byId("trials").textContent);
  const tools = byId("tools"), drawer = byId("drawer");
  const chosen = { filter: byId("filter"), told: byId("told"), family: byId("family") };
  const heads = (table) => all("thead tr:last-child th", table);

  // Missing figures come last in both directions.
  const figure = (text) => (text === "" ? NaN : Number(text));
  const last = (a, b, compared) => Number.isNaN(a) - Number.isNaN(b) || compared;
  DataTable.type("figure", {
    order: {
      pre: figure,
      asc: (a, b) => last(a, b, a - b),
      desc: (a, b) => last(a, b, b - a),
    },
  });

  const families = new Set(all("tr[data-families]").flatMap((row) => row.dataset.families.split(" ")));
  families.delete("");
  for (const family of [...families].sort()) byId("family").append(make("option", family, { value: family }));
  byId("family").parentElement.hidden = families.size < 2;

  const wanted = (row) => {
    const words = chosen.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const name = row.cells[0].textContent.toLowerCase();
    const told = chosen.told?.value ?? "", family = chosen.family.value;
    return words.every((word) => name.includes(word))
      && (!told || row.dataset.told === told || row.dataset.told === "reference")
      && (!family || row.dataset.families.split(" ").includes(family));
  };

  const figures = new Map(); // of a row in its table: columns with what their cells say
  for (const table of all("table.grid")) {
    const titles = heads(table).map((head) => head.textContent);
    for (const link of all("a[data-row]", table)) {
      const cells = [...link.closest("tr").cells].map((cell) => cell.textContent.trim());
      figures.set(link.dataset.row, titles.map((title, i) => [title, cells[i]]).slice(1));
    }
  }

  const grids = all("table.grid").map((element) => {
    const keys = heads(element).map((head) => head.dataset.key);
    const shownIn = heads(element).map((head) => new Set([
      "all", head.dataset.group ?? "overview", ...("overview" in head.dataset ? ["overview"] : []),
    ]));
    const api = new DataTable(element, {
      paging: false, info: false, order: [], autoWidth: false, orderMulti: false, titleRow: 1,
      layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null },
      language: { zeroRecords: "No method of this table is asked for." },
      columnDefs: [{ targets: "_all", type: "figure", orderSequence: ["desc", "asc", ""] },
                   { targets: 0, type: "string", orderSequence: ["asc", "desc", ""] }],
    });
    element.classList.add("live");
    api.search.fixed("page", (text, data, index) => wanted(api.row(index).node()));
    return { element, api, keys, shownIn, place: element.dataset.place };
  });

  const show = (view) => {
    for (const { api, shownIn } of grids)
      shownIn.forEach((views, column) => api.column(column).visible(column === 0 || views.has(view), false));
    fit();
  };
  const fit = () => {
    document.documentElement.style.setProperty("--tools",
      getComputedStyle(tools).position === "sticky" ? `${tools.offsetHeight - 1}px` : "0px");
    for (const { element } of grids) {
      const box = element.closest(".box");
      box.classList.remove("fits");
      box.classList.toggle("fits", element.offsetWidth <= box.clientWidth);
    }
  };
  const sieve = () => {
    let rows = 0, left = 0;
    for (const { api } of grids) {
      api.draw();
      rows += api.rows().count();
      left += api.rows({ search: "applied" }).count();
    }
    byId("count").textContent = left < rows ? `${left} of ${rows} rows` : `${rows} rows`;
    fit();
  };

  // What is looked at stands in the address, so that a link shows the same to others.
  let opened = "";
  const names = new Map(all("article[data-name]").map((a) => [a.id, a.dataset.name]));
  const named = (anchor) => `${anchor.split("-")[1]}/${names.get(anchor)}`;
  const remember = () => {
    const state = new URLSearchParams();
    const view = tools.elements.view.value;
    if (view !== "overview") state.set("view", view);
    for (const [key, input] of Object.entries(chosen)) if (input?.value) state.set(key, input.value);
    for (const { api, keys, place } of grids)
      for (const [column, direction] of api.order())
        if (direction) state.set(`sort-${place}`, `${keys[column]}.${direction}`);
    if (opened) state.set("row", named(opened));
    const text = state.toString();
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  };
  const recall = () => {
    const text = location.hash.slice(1);
    if (names.has(text)) return open(text); // a plain link to a row
    if (text && !text.includes("=")) return; // a place in the page
    const state = new URLSearchParams(text);
    const views = [...tools.elements.view];
    (views.find((radio) => radio.value === state.get("view")) ?? views[0]).checked = true;
    for (const [key, input] of Object.entries(chosen)) if (input) input.value = state.get(key) ?? "";
    for (const { api, keys, place } of grids) {
      const asked = state.get(`sort-${place}`) ?? "", dot = asked.lastIndexOf(".");
      const column = keys.indexOf(asked.slice(0, dot)), direction = asked.slice(dot + 1);
      api.order(column < 0 || !["asc", "desc"].includes(direction) ? [] : [[column, direction]]);
    }
    show(tools.elements.view.value);
    sieve();
    const anchor = [...names.keys()].find((one) => named(one) === state.get("row"));
    if (anchor) open(anchor);
    else if (drawer.open) drawer.close();
  };

  const copy = async (button, text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // not allowed here: leave it selected for the reader's own copying
      getSelection().selectAllChildren(button.previousElementSibling);
      button.textContent = "Selected";
      return;
    }
    button.textContent = "Copied";
  };
  const pairs = (items, name) => {
    const list = make("dl", "", { class: name });
    for (const [term, text] of items) {
      const line = make("div");
      line.append(make("dt", term), make("dd", text));
      list.append(line);
    }
    return list;
  };
  const figuresOf = (label, values) => { // of one line, all with as many digits after the point
    const most = Math.max(...values.map((value) => Math.abs(value ?? 0)));
    const digits = label.endsWith("%") ? 2 : Math.min(8, Math.max(0, 3 - Math.floor(Math.log10(most || 1))));
    return values.map((value) => (value === null ? "–" : value.toFixed(digits)));
  };
  const seeds = ({ seeds: columns, parts }) => {
    const table = make("table", "", { class: "values" }), head = make("tr");
    head.append(make("th", "", { scope: "col" }), ...columns.map((s) => make("th", `seed ${s}`, { scope: "col" })));
    table.append(make("thead"));
    table.tHead.append(head);
    for (const [title, lines] of parts) {
      const body = table.createTBody(), kind = body.insertRow();
      kind.className = "kind";
      kind.append(make("th", title, { scope: "rowgroup", colspan: columns.length + 1 }));
      for (const [label, values] of lines) {
        const line = body.insertRow();
        line.append(make("th", label, { scope: "row" }), ...figuresOf(label, values).map((text) => make("td", text)));
      }
    }
    const box = make("div", "", { class: "box", role: "region", tabindex: 0, "aria-label": "Every seed" });
    box.append(table);
    return box;
  };
  const machines = ({ seeds: columns, environments }) => [...new Set(environments)].flatMap((index) => {
    const those = columns.filter((_, i) => environments[i] === index);
    return [make("p", `Seeds ${those.join(", ")}`, { class: "quiet" }), byId(`e${index}`).firstElementChild.cloneNode(true)];
  });
  const open = (anchor) => {
    const data = trials[anchor], article = byId(anchor), body = byId("drawer-body");
    byId("drawer-name").textContent = names.get(anchor);
    const copied = [...article.cloneNode(true).children];
    const table = copied.find((node) => node.matches(".commands"));
    const said = copied.filter((node) => !node.matches("h4, .commands, .source"));
    for (const code of all("code", table)) {
      const button = make("button", "Copy", { type: "button" });
      button.addEventListener("click", () => copy(button, code.textContent));
      code.after(button);
    }
    const box = make("div", "", { class: "box", role: "region", tabindex: 0, "aria-label": "Commands" });
    box.append(table);
    const settings = byId(`h${data.settings}`).firstElementChild.cloneNode(true);
    const source = article.querySelector(".source").firstChild.textContent.replace(/,\s*$/, "");
    body.replaceChildren(
      make("p", byId(`table-${anchor.split("-")[1]}`).querySelector("h2, h3").textContent, { class: "quiet" }),
      ...said,
      make("h3", "On the board"), pairs(figures.get(anchor).filter(([, text]) => text && text !== "–"), "figures"),
      make("h3", source), settings,
      make("h3", "Run it again"), box,
      make("h3", "Every seed"), seeds(data),
      make("h3", "Environment"), ...machines(data),
    );
    opened = anchor;
    if (!drawer.open) drawer.showModal();
    drawer.scrollTop = 0;
    remember();
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-row]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(link.dataset.row);
  });
  // DataTables sorts by Enter; a button is also pressed by the space bar.
  document.addEventListener("keydown", (event) => {
    const button = event.target.closest?.("thead .dt-column-order");
    if (!button || event.key !== " ") return;
    event.preventDefault();
    button.click();
  });
  drawer.addEventListener("close", () => { opened = ""; remember(); });
  drawer.addEventListener("click", (event) => { if (event.target === drawer) drawer.close(); });
  byId("close").addEventListener("click", () => drawer.close());
  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.addEventListener("input", () => { show(tools.elements.view.value); sieve(); remember(); });
  tools.addEventListener("reset", () => setTimeout(() => {
    for (const { api } of grids) api.order([]);
    show(tools.elements.view.value);
    sieve();
    remember();
  }));
  for (const { api } of grids) api.on("order", () => setTimeout(remember));
  addEventListener("hashchange", recall);
  addEventListener("resize", fit);

  document.documentElement.classList.add("live-page");
  tools.hidden = grids.length === 0;
  recall();
  if (!location.hash.includes("=")) { show("overview"); sieve(); }
})();
