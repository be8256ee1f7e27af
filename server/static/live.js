// Keeps the page new without reloading it: asks every two seconds whether anything changed, and puts the main part of
// a freshly rendered page into place if so. The page is whole without this.
"use strict";

(() => {
  const PAUSE_MS = 2000;
  const KEY = "active-loop-token";

  // A token in the address is kept for this tab only, and leaves the address (and with it the history) at once.
  const address = new URL(location.href);
  if (address.searchParams.has("token")) {
    sessionStorage.setItem(KEY, address.searchParams.get("token"));
    address.searchParams.delete("token");
    history.replaceState(null, "", address);
  }

  function ask(path, headers) {
    const token = sessionStorage.getItem(KEY);
    if (token) headers.Authorization = `Bearer ${token}`;
    return fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(10000) });
  }

  // What somebody has opened or is on must not close under them. Who writes in a form is left alone: see refresh.
  function keep(old, fresh) {
    for (const open of old.querySelectorAll("details[open]")) {
      const same = fresh.querySelector(`#${open.id}`);
      if (same) same.open = true;
    }
  }

  async function refresh() {
    const response = await ask(location.href, {});
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const old = document.querySelector("main");
    if (old.querySelector("form")?.contains(document.activeElement)) return;
    const fresh = document.adoptNode(page.querySelector("main"));
    keep(old, fresh);
    if (old.isEqualNode(fresh)) return;
    const focused = old.contains(document.activeElement) && document.activeElement.id;
    const before = old.querySelector("h1").textContent;
    const now = fresh.querySelector("h1").textContent;
    old.replaceWith(fresh);
    document.dispatchEvent(new Event("refreshed"));
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    if (before !== now) document.getElementById("news").textContent = now;
    document.title = page.title;
  }

  async function look() {
    const version = document.querySelector("main").dataset.version;
    const response = await ask(`${document.body.dataset.root}status.json`, version ? { "If-None-Match": `"${version}"` } : {});
    if (response.status !== 304) await refresh();
  }

  let answered = new Date();
  function show(reached) {
    const gone = document.getElementById("gone");
    if (reached) answered = new Date();
    else gone.textContent = document.body.dataset.lost.replace("TIME", answered.toLocaleTimeString());
    gone.hidden = reached;
  }

  async function tick() {
    if (!document.hidden) {
      try {
        await look();
        show(true);
      } catch {
        show(false);
      }
    }
    setTimeout(tick, PAUSE_MS);
  }

  tick();
})();
