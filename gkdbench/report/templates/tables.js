// A table's rows in blocks: measured rows stay below the published row that they belong to.
const blocksOf = (table) => {
  const blocks = [];
  for (const row of table.tBodies[0].rows) {
    if (row.classList.contains("measured") && blocks.length) blocks.at(-1).push(row);
    else blocks.push([row]);
  }
  return blocks;
};
const cellAt = (row, column) => {
  let place = 0;
  for (const cell of row.cells) {
    if (place === column) return cell;
    place += cell.colSpan;
    if (place > column) return null;
  }
  return null;
};
const numberAt = (row, column) => {
  const value = cellAt(row, column)?.dataset.sort;
  return value === undefined ? null : Number(value);
};
// A row's name stands before its footnotes and the links to its runs.
const textAt = (row, column) => {
  const cell = cellAt(row, column);
  if (!cell) return null;
  return (column ? cell.textContent : cell.firstChild?.textContent ?? "").trim().toLowerCase();
};
const keyOf = (block, column, numeric) => {
  if (column && block[0].classList.contains("status")) return null;
  if (!numeric) return textAt(block[0], column) || null;
  return block.map((row) => numberAt(row, column)).find((value) => value !== null) ?? null;
};

// Sorting: a click or Enter on a title sorts up, again down, again as it was. What has no value goes last either way.
const setUpSorting = (table) => {
  const original = blocksOf(table);
  const heads = [...table.querySelectorAll("thead th[data-column]")];
  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      const order = { ascending: "descending", descending: null }[head.getAttribute("aria-sort")];
      for (const other of heads) other.removeAttribute("aria-sort");
      let blocks = original;
      if (order !== null) {
        head.setAttribute("aria-sort", order ?? "ascending");
        const numeric = head.classList.contains("num");
        const sign = order === "descending" ? -1 : 1;
        const keyed = original.map((block) => [keyOf(block, Number(head.dataset.column), numeric), block]);
        keyed.sort(([a], [b]) => {
          if (a === null || b === null) return (a === null) - (b === null);
          return sign * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
        });
        blocks = keyed.map(([, block]) => block);
      }
      table.tBodies[0].append(...blocks.flat());
    });
  }
};

// Filtering. A word must occur in the row; `ood>30` or `ood<=12.5` asks for a number in the first column of that name;
// a list offers the values of a column of words that repeat.
const MOST_CHOICES = 40;
const COMPARED = /^([^<>=]+)([<>]=?|=)([-−]?\d+(?:\.\d+)?)$/;
const HOLDS = {
  "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "=": (a, b) => a === b,
};
const titleOf = (head) => head.querySelector("button").textContent;
const conditionOf = (word, heads) => {
  const found = COMPARED.exec(word);
  const numeric = heads.filter((head) => head.classList.contains("num"));
  const head = found && numeric.find((one) => titleOf(one).toLowerCase().includes(found[1]));
  if (!head) return (block, text) => text.includes(word);
  return (block) => block.some((row) => {
    const value = numberAt(row, Number(head.dataset.column));
    return value !== null && HOLDS[found[2]](value, Number(found[3].replace("−", "-")));
  });
};
const listFor = (table, head, values, change) => {
  const label = document.createElement("label");
  const list = document.createElement("select");
  list.dataset.column = head.dataset.column;
  for (const value of ["", ...values]) {
    const option = document.createElement("option");
    option.value = value;
    option.textContent = value || "all";
    list.append(option);
  }
  list.addEventListener("change", change);
  label.append(`${titleOf(head)} `, list);
  return label;
};
const setUpFilter = (form) => {
  const table = document.getElementById(form.dataset.table);
  const input = form.querySelector("input[type=search]");
  const count = form.querySelector("output");
  const heads = [...table.querySelectorAll("thead th[data-column]")]
    .sort((a, b) => a.dataset.column - b.dataset.column);
  const blocks = blocksOf(table);
  const texts = blocks.map((block) => block.map((row) => row.textContent).join(" ").toLowerCase());
  const lists = [];
  const comparable = form.querySelector("input[type=checkbox]");
  const change = () => {
    const asked = input.value.toLowerCase().split(/\s+/).filter(Boolean).map((word) => conditionOf(word, heads));
    const chosen = lists.filter((list) => list.value);
    let shown = 0;
    blocks.forEach((block, place) => {
      const fits = asked.every((holds) => holds(block, texts[place]))
        && chosen.every((list) => block.some((row) => wordAt(row, Number(list.dataset.column)) === list.value))
        && !(comparable?.checked && block[0].matches(".apart, .status"));
      for (const row of block) row.hidden = !fits;
      shown += fits ? block.length : 0;
    });
    const narrowed = asked.length || chosen.length || comparable?.checked;
    count.textContent = narrowed ? `${shown} of ${table.tBodies[0].rows.length} rows` : "";
  };
  for (const head of heads.filter((one) => !one.classList.contains("num"))) {
    const column = Number(head.dataset.column);
    const values = new Set(blocks.flat().map((row) => wordAt(row, column)).filter(Boolean));
    if (values.size < 2 || values.size > MOST_CHOICES || 3 * values.size > 2 * blocks.length) continue;
    const label = listFor(table, head, [...values].sort((a, b) => a.localeCompare(b, "en", { numeric: true })), change);
    lists.push(label.querySelector("select"));
    count.before(label);
  }
  if (comparable && table.querySelector("tbody > .apart, tbody > .status")) comparable.parentElement.hidden = false;
  const example = heads.find((head) => head.classList.contains("num") && head.dataset.column > 0);
  const word = example && titleOf(example).split(/\s/)[0].replace(/[^\p{L}\p{N}]+$/u, "").toLowerCase();
  input.placeholder = word ? `words, or ${word}>30` : "words";
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("input", change);
  comparable?.addEventListener("change", change);
};
const wordAt = (row, column) => {
  const cell = cellAt(row, column);
  return cell ? (column ? cell.textContent : cell.firstChild?.textContent ?? "").trim() : "";
};
