// Everything here is an addition: without it the pages are complete. No text is
// ever turned into markup.
"use strict";
(() => {
  const all = (selector, root) => (root || document).querySelectorAll(selector);
  const fill = (words, m, s) => words.replace("{m}", m).replace("{s}", s);

  // A page from the back-forward cache shows what was, not what is.
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });

  // Times in the zone and manner of the device.
  const localTimes = (root) => {
    for (const time of all("time[datetime]", root)) {
      const when = new Date(time.dateTime);
      if (Number.isNaN(when.getTime())) continue;
      const style = { hour: "numeric", minute: "2-digit" };
      if (when.toDateString() !== new Date().toDateString()) {
        Object.assign(style, { day: "numeric", month: "short", year: "numeric" });
      }
      time.textContent = new Intl.DateTimeFormat(document.documentElement.lang, style).format(when);
    }
  };

  // Countdowns. The end is fixed once, by the device's clock, from the seconds
  // that the server gave; so a wrong clock does no harm.
  const countdown = (node) => {
    const end = Date.now() + Number(node.dataset.left) * 1000;
    const words = node.querySelector("[data-words]");
    const bar = node.querySelector("progress");
    const status = node.querySelector("[data-status]");
    const tick = () => {
      if (!node.isConnected) return;
      const left = Math.max(0, Math.ceil((end - Date.now()) / 1000));
      const m = Math.floor(left / 60), s = left % 60, d = node.dataset;
      words.textContent = fill(m === 0 ? d.wordsS : s === 0 ? d.wordsM : d.wordsMs, m, s);
      if (bar) bar.value = left;
      if (left <= 20 && status && !node.classList.contains("soon")) {
        node.classList.add("soon");
        status.textContent = status.dataset.soon;
      }
      if (left > 0) {
        setTimeout(tick, 1000 - (Date.now() % 1000));
      } else if (bar) {
        // The buttons go, and the page comes back saying what happened.
        node.classList.add("over");
        setTimeout(() => location.replace(node.dataset.follow), 600);
      }
    };
    tick();
  };

  // A form is sent once, and Enter in a field does not send one that decides.
  const once = (form) => {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent || (event.submitter && event.submitter.hidden)) {
        event.preventDefault();
        return;
      }
      form.dataset.sent = "true";
      form.setAttribute("aria-busy", "true");
    });
  };

  // Approve does nothing for the first moments after it appears or moves, so
  // that no tap meant for something else lands on it, and never by Enter.
  const arm = (button) => {
    let ready = 0;
    let timer = 0;
    const disarm = () => {
      ready = Date.now() + 700;
      button.setAttribute("aria-disabled", "true");
      clearTimeout(timer);
      timer = setTimeout(() => button.removeAttribute("aria-disabled"), 700);
    };
    disarm();
    document.addEventListener("visibilitychange", disarm);
    addEventListener("focus", disarm);
    let top = button.getBoundingClientRect().top;
    new ResizeObserver(() => {
      const now = button.getBoundingClientRect().top;
      if (now !== top) disarm();
      top = now;
    }).observe(document.body);
    button.addEventListener("click", (event) => {
      if (Date.now() < ready) event.preventDefault();
    });
    button.addEventListener("keydown", (event) => {
      if (event.key === "Enter") event.preventDefault();
    });
  };

  const reveal = (button) => {
    const input = document.getElementById(button.dataset.reveal);
    button.hidden = false;
    button.addEventListener("click", () => {
      const hide = input.type === "text";
      input.type = hide ? "password" : "text";
      button.textContent = hide ? button.dataset.show : button.dataset.hide;
      input.focus();
    });
    input.form.addEventListener("submit", () => { input.type = "password"; });
  };

  // The server says which requests wait, at once and after each change. Only a
  // page that is looked at listens: browsers allow few connections to a host.
  const listen = (url, pending, failed) => {
    let source = null;
    const start = () => {
      if (document.hidden || source) return;
      source = new EventSource(url);
      source.addEventListener("pending", (event) => pending(event.data ? event.data.split(" ") : []));
      source.addEventListener("error", () => {
        // While it is merely between two streams, it goes on by itself.
        if (!source || source.readyState !== EventSource.CLOSED) return;
        source = null;
        setTimeout(() => { failed(); start(); }, 10000);
      });
    };
    const stop = () => {
      if (source) source.close();
      source = null;
    };
    document.addEventListener("visibilitychange", () => document.hidden ? stop() : start());
    addEventListener("pagehide", stop);
    start();
  };

  // The list renews itself. What has not changed stays in place, so that nothing
  // moves under a finger.
  const live = (list) => {
    const shown = () => Array.from(all("a.card", list), (card) => card.dataset.id).sort().join(" ");
    const renew = () => {
      const request = new XMLHttpRequest();
      request.responseType = "document";
      request.open("GET", list.dataset.live);
      request.onload = () => {
        const fresh = request.responseXML && request.responseXML.getElementById("list");
        if (!fresh) {
          location.reload();
          return;
        }
        document.title = request.responseXML.title;
        const focused = document.activeElement && document.activeElement.dataset.id;
        list.replaceChildren(...fresh.childNodes);
        ready(list);
        for (const card of all("a.card", list)) if (card.dataset.id === focused) card.focus();
      };
      request.send();
    };
    listen(list.dataset.events, (ids) => {
      if (ids.sort().join(" ") !== shown()) renew();
    }, renew);
  };

  // A request that is decided elsewhere, or withdrawn, says so where it is open.
  const follow = (form) => {
    listen(form.dataset.events, (ids) => {
      if (!ids.includes(form.dataset.id) && !form.dataset.sent) location.replace(form.dataset.follow);
    }, () => {});
  };

  // The service worker makes the app installable, says when there is no connection
  // and shows notifications. Only this one address can become a worker.
  const worker = (path) => {
    if (!("serviceWorker" in navigator)) return;
    const own = (url) => {
      if (url !== path) throw new TypeError("not the service worker");
      return url;
    };
    const address = "trustedTypes" in window ? trustedTypes.createPolicy("service-worker", { createScriptURL: own }).createScriptURL(path) : path;
    // A browser may forbid it, in private windows for instance: the pages are
    // complete without.
    navigator.serviceWorker.register(address, { updateViaCache: "none" }).catch(() => {});
  };

  // Installing the app is offered where nothing else is to be done, and not again once
  // it was answered. Where nothing can be remembered it is not offered.
  const install = { prompt: null, key: "install-answered " + document.body.dataset.worker };
  const answered = () => {
    try { return localStorage.getItem(install.key) !== null; } catch { return true; }
  };
  const offerInstall = (root) => {
    for (const offer of all("[data-install]", root)) {
      offer.hidden = !install.prompt || answered();
      offer.querySelector("button").onclick = async () => {
        const prompt = install.prompt;
        install.prompt = null;
        offer.hidden = true;
        if (!prompt) return;
        await prompt.prompt();
        await prompt.userChoice;
        try { localStorage.setItem(install.key, "1"); } catch { /* then it is offered again */ }
      };
    }
  };
  addEventListener("beforeinstallprompt", (event) => {
    event.preventDefault();
    install.prompt = event;
    offerInstall(document);
  });

  const ready = (root) => {
    offerInstall(root);
    localTimes(root);
    for (const node of all("[data-left]", root)) countdown(node);
  };
  ready(document);
  if (document.body.dataset.worker) worker(document.body.dataset.worker);
  for (const form of all("form[data-once]")) once(form);
  for (const button of all("[data-approve]")) arm(button);
  for (const button of all("[data-reveal]")) reveal(button);
  for (const list of all("[data-live]")) live(list);
  for (const form of all("[data-follow]")) follow(form);
})();
