
// Passkeys: a form that carries the answer of an authenticator is sent once there is
// one. The pages say what to do instead where there is no script.
(() => {
  const decode = (text) => {
    const raw = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(raw, (c) => c.charCodeAt(0));
  };
  const encode = (buffer) => {
    let raw = "";
    for (const byte of new Uint8Array(buffer)) raw += String.fromCharCode(byte);
    return btoa(raw).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  };

  // The JSON forms of WebAuthn Level 3, in both directions.
  const readOptions = (text) => {
    const options = JSON.parse(text);
    if (options.challenge) options.challenge = decode(options.challenge);
    if (options.user) options.user.id = decode(options.user.id);
    for (const list of [options.allowCredentials, options.excludeCredentials]) {
      for (const item of list || []) item.id = decode(item.id);
    }
    return options;
  };
  const writeAnswer = (credential) => {
    const response = {};
    for (const name of ["clientDataJSON", "authenticatorData", "signature", "userHandle", "attestationObject"]) {
      if (credential.response[name]) response[name] = encode(credential.response[name]);
    }
    if (credential.response.getTransports) response.transports = credential.response.getTransports();
    const id = encode(credential.rawId);
    return JSON.stringify({
      id, rawId: id, type: credential.type, response, clientExtensionResults: {},
      authenticatorAttachment: credential.authenticatorAttachment || undefined,
    });
  };

  // What is approved, as the server writes it: see choice in evidence.go.
  const choice = (form, field) => {
    const scopes = (field.dataset.required || "").split(" ").filter(Boolean);
    for (const input of form.querySelectorAll('input[name="scope"]')) {
      if (input.type === "hidden" || input.checked) scopes.push(input.value);
    }
    return "approve\n" + Array.from(new Set(scopes)).sort().join(" ");
  };
  const challenge = async (form, field) => {
    const prefix = decode(field.dataset.prefix);
    const chosen = new TextEncoder().encode(choice(form, field));
    const whole = new Uint8Array(prefix.length + chosen.length);
    whole.set(prefix);
    whole.set(chosen, prefix.length);
    return crypto.subtle.digest("SHA-256", whole);
  };

  let waiting = null; // the offer in the user name field
  const ask = async (form, field) => {
    if (waiting) waiting.abort();
    waiting = null;
    const publicKey = readOptions(field.dataset.options);
    if (field.dataset.prefix) publicKey.challenge = await challenge(form, field);
    if (publicKey.user) return navigator.credentials.create({ publicKey });
    return navigator.credentials.get({ publicKey });
  };

  const passkey = (field) => {
    const form = field.form;
    const start = form.querySelector("[data-passkey-start]");
    const failed = form.querySelector("[data-passkey-failed]");
    const send = (credential) => {
      field.value = writeAnswer(credential);
      form.requestSubmit(start);
    };
    start.hidden = false;
    let busy = false;
    // Before anybody else hears of it: a form without an answer is not sent.
    document.addEventListener("submit", (event) => {
      if (event.target !== form || event.submitter !== start || field.value) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      if (busy) return;
      busy = true;
      failed.hidden = true;
      form.setAttribute("aria-busy", "true");
      ask(form, field).then(send).catch(() => {
        form.removeAttribute("aria-busy");
        failed.hidden = false;
        failed.scrollIntoView({ block: "nearest" });
      }).finally(() => { busy = false; });
    }, true);
    if (field.dataset.conditional === undefined || !PublicKeyCredential.isConditionalMediationAvailable) return;
    PublicKeyCredential.isConditionalMediationAvailable().then((available) => {
      if (!available || busy) return;
      waiting = new AbortController();
      const publicKey = readOptions(field.dataset.options);
      navigator.credentials.get({ publicKey, mediation: "conditional", signal: waiting.signal })
        .then(send).catch(() => {});
    });
  };

  // The code of an enrollment link stands behind the #, where no server sees it, and
  // does not stay in the address bar.
  for (const input of document.querySelectorAll("input[data-fragment]")) {
    if (location.hash.length < 2) continue;
    input.value = location.hash.slice(1);
    history.replaceState(null, "", location.pathname);
  }

  const fields = document.querySelectorAll("input[data-options]");
  if (!window.PublicKeyCredential || !navigator.credentials) {
    for (const missing of document.querySelectorAll("[data-passkey-missing]")) missing.hidden = false;
    return;
  }
  for (const field of fields) passkey(field);
})();
