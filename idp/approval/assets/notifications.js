// Switches notifications on in this browser. What the browser gives is sent by the
// page's own form; the list of devices comes from the server.
"use strict";
(() => {
  const form = document.querySelector("[data-push]");
  const start = form.querySelector("[data-push-start]");
  const say = (what) => {
    for (const text of form.querySelectorAll("[data-push-says]")) text.hidden = text.dataset.pushSays !== what;
    start.hidden = what !== "off" && what !== "failed";
  };
  if (!("serviceWorker" in navigator && "PushManager" in window && "Notification" in window)) {
    say("unsupported");
    return;
  }

  const base64url = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const fromBase64url = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const current = async () => (await navigator.serviceWorker.ready).pushManager.getSubscription();
  // The server knows a subscription by a hash of its address.
  const rowOf = async (subscription) => {
    const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(subscription.endpoint));
    return document.querySelector(`[data-push-id="${base64url(hash)}"]`);
  };

  const look = async () => {
    if (Notification.permission === "denied") {
      say("denied");
      return;
    }
    const subscription = await current();
    const row = subscription && await rowOf(subscription);
    if (!row) {
      say("off");
      return;
    }
    row.querySelector("[data-push-this]").hidden = false;
    // The browser forgets it, too.
    const removal = row.querySelector("form");
    removal.addEventListener("submit", (event) => {
      if (removal.dataset.ended) return;
      event.preventDefault();
      removal.dataset.ended = "true";
      delete removal.dataset.sent;
      // Not from within this event, in which the form cannot be sent again.
      const send = () => setTimeout(() => removal.requestSubmit(removal.querySelector("button")));
      subscription.unsubscribe().then(send, send);
    });
    say("on");
  };

  const subscribe = async () => {
    if (await Notification.requestPermission() !== "granted") {
      say(Notification.permission === "denied" ? "denied" : "off");
      return;
    }
    const { pushManager } = await navigator.serviceWorker.ready;
    const key = form.dataset.push;
    let subscription = await pushManager.getSubscription();
    const with_ = subscription && subscription.options.applicationServerKey;
    if (subscription && (!with_ || base64url(with_) !== key)) {
      await subscription.unsubscribe();
      subscription = null;
    }
    subscription = subscription || await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: fromBase64url(key) });
    const { endpoint, keys } = subscription.toJSON();
    form.elements.endpoint.value = endpoint;
    form.elements.p256dh.value = keys.p256dh;
    form.elements.auth.value = keys.auth;
    form.submit();
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    start.setAttribute("aria-busy", "true");
    subscribe().catch(() => say("failed")).finally(() => start.removeAttribute("aria-busy"));
  });
  look().catch(() => say("failed"));
})();
