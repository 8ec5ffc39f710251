
// A push message says only that something waits; who asks for what is on a page
// that asks for the session. The notification has no buttons: nothing is decided
// without reading.
const words = () => {
  for (const language of navigator.languages) {
    const found = shell.words[language.slice(0, 2).toLowerCase()];
    if (found) return found;
  }
  return shell.words.en;
};

addEventListener("push", (event) => {
  const { title, text } = words();
  event.waitUntil(registration.showNotification(title, {
    body: text, icon: shell.icon, badge: shell.icon, tag: "waiting", renotify: true,
  }));
});

addEventListener("notificationclick", (event) => {
  event.notification.close();
  const home = shell.base + "/";
  event.waitUntil((async () => {
    for (const client of await clients.matchAll({ type: "window" })) {
      const path = new URL(client.url).pathname;
      // A page that shows a request is left as it is; its reader is told there.
      if (path === home || path.startsWith(home + "requests/")) return client.focus();
    }
    return clients.openWindow(home);
  })());
});
