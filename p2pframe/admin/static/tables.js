// Sorting by a column, and leaving out the rows that a filter does not fit.

const NUMBER = /^-?\d+(\.\d+)?(e[+-]?\d+)?$/i;

export function sortBy(header, direction) {
  const index = header.cellIndex;
  const table = header.closest("table");
  for (const other of table.querySelectorAll("th[aria-sort]")) if (other !== header) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction);
  const body = table.tBodies[0];
  const value = (row) => row.cells[index].dataset.value ?? row.cells[index].textContent.trim();
  const sign = direction === "ascending" ? 1 : -1;
  const compare = (one, other) => NUMBER.test(one) && NUMBER.test(other)
    ? Number(one) - Number(other) : one.localeCompare(other, "en", { numeric: true });
  place(body, [...body.rows].sort((one, other) => sign * compare(value(one), value(other))));
}

export function sortFurther(header) {
  sortBy(header, header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending");
}

// Rows that are where they belong are not moved: what has the focus keeps it.
export function place(body, rows) {
  let next = body.firstElementChild;
  for (const row of rows) {
    if (row === next) next = next.nextElementSibling;
    else body.insertBefore(row, next);
  }
}

export function filter() {
  for (const field of document.querySelectorAll("[data-filter]")) {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...document.getElementById(field.dataset.filter)?.tBodies[0].rows ?? []];
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    const noun = rows.length === 1 ? field.dataset.noun : `${field.dataset.noun}s`;
    const said = `${words.length ? `${shown} of ${rows.length}` : rows.length} ${noun}`;
    const count = document.getElementById("count");
    if (count.textContent !== said) count.textContent = said;
  }
}
