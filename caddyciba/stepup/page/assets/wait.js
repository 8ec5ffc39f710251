// Keeps the waiting page up to date. Without it the page reloads itself.
"use strict";
(() => {
  const go = document.getElementById("go");
  if (go) {
    go.requestSubmit();
    return;
  }
  const sheet = document.querySelector("[data-events]");
  if (!sheet) return;
  const again = () => location.replace(location.href);

  const state = sheet.dataset.state;
  const events = new EventSource(sheet.dataset.events);
  events.addEventListener("state", (event) => {
    if (event.data === state) return;
    events.close();
    again();
  });
  events.addEventListener("error", () => {
    // What the browser does not try again by itself, the page does.
    if (events.readyState === EventSource.CLOSED) setTimeout(again, 4000);
  });

  const time = document.getElementById("time");
  if (!time) return;
  const text = time.querySelector("span");
  const bar = time.querySelector("progress");
  // The server says how much time is left; clocks differ.
  const end = performance.now() + Number(time.dataset.left) * 1000;
  const tick = () => {
    const left = Math.max(0, Math.ceil((end - performance.now()) / 1000));
    const minutes = Math.floor(left / 60);
    text.textContent = (minutes > 0 ? time.dataset.minutes : time.dataset.seconds)
      .replace("{m}", String(minutes)).replace("{s}", String(left - (minutes > 0 ? minutes * 60 : 0)));
    bar.value = left;
    time.classList.toggle("soon", left <= 20);
    if (left > 0) setTimeout(tick, 1000);
    else setTimeout(again, 2000);
  };
  tick();
})();
