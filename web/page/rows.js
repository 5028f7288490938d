/**
 * A table whose rows come, change and go while somebody reads it: what has not changed stays as it is, and with it the focus.
 *
 * On a narrow screen each row is a card (page.css), which takes from a table what it is for screen readers: hence the roles.
 */

import { say, words } from "./base.js";

export class Table {
  #body = part("tbody", "rowgroup");
  #rows = new Map();
  #columns;
  #none = document.createElement("p");

  /** In this place; a column for each key of words, a name for it all. `none` is said where there is no row. */
  constructor(place, { columns, title, none }) {
    this.#columns = columns;
    const head = part("tr", "row");
    for (const column of columns) {
      const cell = part("th", "columnheader");
      cell.scope = "col";
      say(cell, column);
      head.append(cell);
    }
    const top = part("thead", "rowgroup");
    top.append(head);
    const table = part("table", "table");
    table.className = "rows";
    table.setAttribute("aria-labelledby", title);
    table.append(top, this.#body);
    this.#none.className = "empty";
    say(this.#none, none);
    place.replaceChildren(table, this.#none);
    this.element = table;
  }

  /**
   * These things in this order. `key` tells them apart, `cells` says what stands in a row: for each column a text or a list of
   * elements, which `make` is asked for once; `title` what is said of it to who points at it.
   */
  show(things, { key, texts, make, mark, title }) {
    const keys = new Set(things.map(key));
    for (const [known, row] of this.#rows) {
      if (keys.has(known)) continue;
      row.element.remove();
      this.#rows.delete(known);
    }
    let before = null;
    for (const thing of things.toReversed()) {
      const id = key(thing);
      const row = this.#rows.get(id) ?? this.#row(make?.(thing) ?? []);
      this.#rows.set(id, row);
      texts(thing).forEach((text, at) => {
        if (row.spans[at].textContent !== text) row.spans[at].textContent = text;
      });
      row.cells.forEach((cell, at) => (cell.dataset.name = words(this.#columns[at])));
      row.element.dataset.mark = mark?.(thing) ?? "";
      if (title) row.element.title = title(thing);
      if (row.element.nextSibling !== before || !row.element.parentNode) this.#body.insertBefore(row.element, before);
      before = row.element;
    }
    this.element.hidden = things.length === 0;
    this.#none.hidden = things.length > 0;
  }

  #row(controls) {
    const element = part("tr", "row");
    const cells = this.#columns.map(() => part("td", "cell"));
    const spans = cells.map((cell) => {
      const span = document.createElement("bdi"); // a stranger's text steers nothing beside it
      cell.append(span);
      return span;
    });
    cells.at(-1).append(...controls);
    element.append(...cells);
    return { element, cells, spans };
  }
}

function part(name, role) {
  const made = document.createElement(name);
  made.setAttribute("role", role);
  return made;
}
