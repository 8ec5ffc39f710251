// The service worker. It keeps the app's own files and one page that says that
// there is no connection, and it shows a notification when something waits. It
// never keeps a page with anybody's data. The server puts "const shell = {…};" in
// front of this file, see worker.go.
"use strict";
const prefix = "approval " + shell.base + " ";
const cacheName = prefix + shell.version;

addEventListener("install", (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(cacheName);
    // Without cookies, so that nothing here can be about somebody.
    await cache.addAll([shell.offline, ...shell.files].map((url) => new Request(url, { credentials: "omit", cache: "no-cache" })));
    await skipWaiting();
  })());
});

addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) {
      if (name.startsWith(prefix) && name !== cacheName) await caches.delete(name);
    }
  })());
});

// A page comes from the server or not at all.
const page = async (request) => {
  try {
    return await fetch(request);
  } catch (error) {
    const kept = await caches.match(shell.offline, { cacheName, ignoreVary: true });
    if (!kept) throw error;
    return kept;
  }
};

const file = async (request) => (await caches.match(request, { cacheName, ignoreVary: true })) || fetch(request);

const isPage = (path) => shell.pages.includes(path) || shell.below.some((start) => path.startsWith(start));

addEventListener("fetch", (event) => {
  const request = event.request;
  const url = new URL(request.url);
  // What is sent is never touched, and neither is what is not ours.
  if (request.method !== "GET" || url.origin !== location.origin) return;
  if (request.mode === "navigate" && isPage(url.pathname)) {
    event.respondWith(page(request));
  } else if (shell.files.includes(url.pathname)) {
    event.respondWith(file(request));
  }
});
