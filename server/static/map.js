// Draws the map: points from /map/points.bin on a canvas, and what an item holds for the one that somebody points at.
// The page has a picture and its counts without this.
"use strict";

(() => {
  const figure = document.getElementById("map");
  const canvas = figure.querySelector(".canvas");
  const hover = figure.querySelector(".hover");
  const ring = figure.querySelector(".ring"); // over the canvas: to draw it there would draw all points anew
  const legend = document.getElementById("legend");
  const CELLS = 128; // a grid by which the nearest point is found
  const REACH_PX = 14;
  const PATIENCE_MS = 60; // the pointer rests this long before an item is fetched
  const EDGE = 33600;

  function ask(path) {
    const token = sessionStorage.getItem("active-loop-token");
    return fetch(path, token ? { headers: { Authorization: `Bearer ${token}` } } : {});
  }

  function unpack(buffer) {
    const n = new DataView(buffer).getUint32(0, true);
    return {
      n,
      items: new Int32Array(buffer, 4, n),
      places: new Int16Array(buffer, 4 + 4 * n, 2 * n),
      groups: new Uint8Array(buffer, 4 + 8 * n, n),
      labelled: new Uint8Array(buffer, 4 + 9 * n, n),
    };
  }

  const column = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor(((value + 32768) / 65536) * CELLS)));

  // Points of one cell after the other, and where each cell begins.
  function gridOf({ n, places }) {
    const starts = new Uint32Array(CELLS * CELLS + 1);
    const cells = new Uint16Array(n);
    for (let i = 0; i < n; i++) {
      cells[i] = column(places[2 * i]) + CELLS * column(places[2 * i + 1]);
      starts[cells[i] + 1] += 1;
    }
    for (let cell = 0; cell < CELLS * CELLS; cell++) starts[cell + 1] += starts[cell];
    const next = starts.slice();
    const order = new Uint32Array(n);
    for (let i = 0; i < n; i++) order[next[cells[i]]++] = i;
    return { starts, order };
  }

  function begin(points) {
    const grid = gridOf(points);
    const hidden = new Set();
    const dark = matchMedia("(prefers-color-scheme: dark)");
    canvas.hidden = false;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", figure.dataset.about);
    figure.querySelector(".scripted").hidden = false;
    const chart = echarts.init(canvas, null, { renderer: "canvas" });

    const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

    function placesOf(group, labelled) {
      const chosen = [];
      for (let i = 0; i < points.n; i++) {
        if (points.groups[i] === group && points.labelled[i] === labelled) chosen.push(points.places[2 * i], points.places[2 * i + 1]);
      }
      return new Float32Array(chosen);
    }

    const groups = [...legend.children].map((_, group) => [placesOf(group, 0), placesOf(group, 1)]);

    function series(group, labelled) {
      const size = labelled ? 9 : points.n > 20000 ? 2.5 : points.n > 3000 ? 3.5 : 5;
      return {
        type: "scatter",
        id: `${group}-${labelled}`,
        data: hidden.has(group) ? new Float32Array(0) : groups[group][labelled],
        dimensions: ["x", "y"],
        large: !labelled,
        largeThreshold: 1000,
        progressive: 0,
        silent: true,
        animation: false,
        symbolSize: size,
        z: labelled ? 3 : 2,
        itemStyle: labelled
          ? { color: style(`--c${group}`), borderColor: style("--paper"), borderWidth: 1.5, opacity: 1 }
          : { color: style(`--c${group}`), opacity: points.n > 20000 ? 0.35 : 0.5 },
      };
    }

    // One unit is as long on both axes, whatever the shape of the frame.
    function ends() {
      const ratio = canvas.clientWidth / canvas.clientHeight;
      return ratio > 1 ? [EDGE * ratio, EDGE] : [EDGE, EDGE / ratio];
    }

    function draw() {
      const [wide, high] = ends();
      const axis = { type: "value", show: false };
      const zoom = { type: "inside", filterMode: "none", minSpan: 1, throttle: 16 };
      chart.setOption({
        animation: false,
        grid: { left: 0, right: 0, top: 0, bottom: 0 },
        xAxis: { ...axis, min: -wide, max: wide },
        yAxis: { ...axis, min: -high, max: high },
        dataZoom: [{ ...zoom, xAxisIndex: 0 }, { ...zoom, yAxisIndex: 0 }],
        series: groups.flatMap((_, group) => [series(group, 0), series(group, 1)]),
      });
    }

    function nearest(x, y) {
      const [left, top] = chart.convertFromPixel({ gridIndex: 0 }, [x - REACH_PX, y - REACH_PX]);
      const [right, bottom] = chart.convertFromPixel({ gridIndex: 0 }, [x + REACH_PX, y + REACH_PX]);
      const [atX, atY] = [(left + right) / 2, (top + bottom) / 2];
      let best = -1;
      let distance = ((right - left) / 2) ** 2;
      for (let row = column(bottom); row <= column(top); row++) {
        for (let col = column(left); col <= column(right); col++) {
          const cell = col + CELLS * row;
          for (let k = grid.starts[cell]; k < grid.starts[cell + 1]; k++) {
            const i = grid.order[k];
            if (hidden.has(points.groups[i])) continue;
            const away = (points.places[2 * i] - atX) ** 2 + (points.places[2 * i + 1] - atY) ** 2;
            const wanted = points.labelled[i] ? away / 4 : away; // large marks are hit more easily
            if (wanted < distance) [best, distance] = [i, wanted];
          }
        }
      }
      return best;
    }

    let chosen = -1;
    let still = false;
    let timer = 0;

    function choose(i) {
      if (i === chosen) return;
      chosen = i;
      clearTimeout(timer);
      hover.hidden = true;
      ring.hidden = i < 0;
      if (i < 0) return;
      const [x, y] = onScreen(i);
      ring.style.left = `${x}px`;
      ring.style.top = `${y}px`;
      timer = setTimeout(show, PATIENCE_MS, i);
    }

    const onScreen = (i) => chart.convertToPixel({ gridIndex: 0 }, [points.places[2 * i], points.places[2 * i + 1]]);

    async function show(i) {
      try {
        const response = await ask(figure.dataset.item.replace(/0$/, points.items[i]));
        if (!response.ok || chosen !== i) return;
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        hover.replaceChildren(...page.body.children);
      } catch {
        return; // the next point that is pointed at is fetched anew
      }
      if (chosen !== i) return;
      hover.classList.toggle("still", still);
      hover.hidden = false;
      const [x, y] = onScreen(i);
      const left = x + 14 + hover.offsetWidth > canvas.clientWidth ? x - 14 - hover.offsetWidth : x + 14;
      const top = Math.min(y + 10, canvas.clientHeight - hover.offsetHeight - 8);
      hover.style.left = `${Math.max(4, Math.min(left, canvas.clientWidth - hover.offsetWidth - 4))}px`;
      hover.style.top = `${Math.max(4, top)}px`;
    }

    const surface = chart.getZr();
    surface.on("mousemove", (event) => {
      if (!still) choose(nearest(event.offsetX, event.offsetY));
    });
    surface.on("globalout", () => {
      if (!still) choose(-1);
    });
    surface.on("click", (event) => {
      const i = nearest(event.offsetX, event.offsetY);
      still = i >= 0;
      if (still && i === chosen) hover.classList.add("still");
      choose(i);
    });

    const known = [...points.items.keys()].filter((i) => points.labelled[i]);
    canvas.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        still = false;
        choose(-1);
      }
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step || !known.length) return;
      event.preventDefault();
      still = true;
      const at = known.indexOf(chosen);
      choose(known[at < 0 ? 0 : (at + step + known.length) % known.length]);
    });

    const indexOf = new Map(known.map((i) => [points.items[i], i]));
    for (const link of document.querySelectorAll(".spots a[data-position]")) {
      const i = indexOf.get(Number(link.dataset.position));
      if (i === undefined) continue;
      const point = () => choose(i);
      link.addEventListener("focus", point);
      link.addEventListener("mouseenter", point);
      for (const left of ["blur", "mouseleave"]) link.addEventListener(left, () => choose(-1));
    }

    for (const [group, entry] of [...legend.children].entries()) {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      button.append(...entry.childNodes);
      entry.replaceChildren(button);
      button.addEventListener("click", () => {
        hidden[hidden.has(group) ? "delete" : "add"](group);
        button.setAttribute("aria-pressed", String(!hidden.has(group)));
        choose(-1);
        draw();
      });
    }

    chart.on("datazoom", () => {
      still = false;
      choose(-1);
    });
    dark.addEventListener("change", draw);
    new ResizeObserver(() => {
      chart.resize();
      draw();
    }).observe(canvas);
    draw();
    canvas.dataset.points = points.n;
  }

  ask(figure.dataset.points)
    .then((response) => response.arrayBuffer())
    .then((buffer) => begin(unpack(buffer)));
})();
