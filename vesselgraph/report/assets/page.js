// Slice scroller, overlay switches, table sorting, and the link between branch table and 3-D view.
"use strict";
(function () {
  const byId = (id) => document.getElementById(id);
  const slices = JSON.parse(byId("data").textContent).slices;

  function showSlice(i) {
    byId("slice-base").src = "data:image/jpeg;base64," + slices.base[i];
    const overlay = byId("slice-overlay");
    overlay.hidden = !slices.overlay[i];
    if (slices.overlay[i]) overlay.src = "data:image/png;base64," + slices.overlay[i];
    byId("slice-caption").textContent = `axial slice ${i + 1} of ${slices.positions.length} at z = ${slices.positions[i].toFixed(1)} mm`;
  }
  const range = byId("slice-range");
  range.addEventListener("input", () => showSlice(Number(range.value)));
  byId("scroller").querySelector(".layers").addEventListener("wheel", (event) => {
    event.preventDefault();
    range.value = Number(range.value) - Math.sign(event.deltaY);
    showSlice(Number(range.value));
  }, { passive: false });
  showSlice(Number(range.value));

  const toggles = document.querySelectorAll(".overlay-toggle");
  for (const toggle of toggles) {
    toggle.addEventListener("change", () => {
      document.body.classList.toggle("no-overlay", !toggle.checked);
      for (const other of toggles) other.checked = toggle.checked;
    });
  }

  function sortBy(table, place) {
    const title = table.tHead.rows[0].cells[place];
    const falling = title.getAttribute("aria-sort") !== "descending";
    for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
    title.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const body = table.tBodies[0];
    const value = (row) => {
      const text = row.cells[place].textContent.trim();
      return title.classList.contains("number") ? (Number.isNaN(parseFloat(text)) ? -Infinity : parseFloat(text)) : text;
    };
    const rows = Array.from(body.rows).map((row) => [value(row), row]);
    rows.sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0) * (falling ? -1 : 1));
    body.append(...rows.map((pair) => pair[1]));
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    Array.from(table.tHead.rows[0].cells).forEach((cell, place) => {
      cell.querySelector("button").addEventListener("click", () => sortBy(table, place));
    });
  }

  const branches = byId("table-branches");
  if (branches && window.vesselViewer) {
    branches.tBodies[0].addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row) window.vesselViewer.mark(Number(row.dataset.key));
    });
    document.addEventListener("branch-marked", (event) => {
      for (const row of branches.tBodies[0].rows) row.classList.toggle("marked", Number(row.dataset.key) === event.detail);
    });
  }
})();
