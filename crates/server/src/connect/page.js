// The connect page: picks a source, logs in, asks what the source asks, and says how it went.
// Whoever holds the bearer may act for the account, so it lives in this closure and nowhere else.
(() => {
  "use strict";

  const view = document.getElementById("view");
  const live = document.getElementById("live");
  const here = /^(.*)\/connect\/([^/]+)\/?$/.exec(location.pathname);
  const base = here[1];
  const link = here[2];

  let session = null;
  let sources = [];
  let source = null;
  let connection = null;
  /** The version of the connection before the person's last deed: what it says until then is old. */
  let before = null;
  let shown = "";
  let documents = null;
  let gaveCredentials = false;
  let following = null;
  let countdown = 0;

  // --- Speaking to the server ---------------------------------------------------------------

  class Refusal extends Error {
    constructor(status, problem) {
      super((problem && problem.detail) || "The server did not answer as it should.");
      this.status = status;
      this.code = problem && problem.code;
      this.faults = (problem && problem.errors) || [];
    }
  }

  function request(method, path, body, extra) {
    const headers = { ...extra };
    if (session) headers.authorization = `Bearer ${session.token}`;
    if (body !== undefined) headers["content-type"] = "application/json";
    return fetch(base + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      referrerPolicy: "no-referrer",
    });
  }

  async function call(method, path, body, extra) {
    const response = await request(method, path, body, extra);
    const text = await response.text();
    let value = null;
    try {
      value = text === "" ? null : JSON.parse(text);
    } catch {
      // Something between the page and the server answered; its status says enough.
    }
    if (!response.ok) throw new Refusal(response.status, value);
    return value;
  }

  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const account = () => `/v1/accounts/${session.account}`;
  const place = () => `${account()}/connections/${connection.id}`;

  /** A key for one deed of the person, so that a repeated request does nothing twice. */
  function onceKey() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  // --- Putting things on the screen ---------------------------------------------------------

  function h(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return element;
  }

  /** Shows another screen and moves the focus to its heading. */
  function show(key, title, ...children) {
    clearInterval(countdown);
    shown = key;
    const heading = h("h1", { tabindex: "-1" }, title);
    view.replaceChildren(heading, ...children.flat().filter(Boolean));
    document.title = title;
    live.textContent = "";
    heading.focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  const say = (text) => {
    if (live.textContent !== text) live.textContent = text;
  };

  const button = (label, onclick, primary) =>
    h("button", { type: "button", class: primary ? "primary" : undefined, onclick }, label);

  function name() {
    return (source && (source.title || source.label || source.name)) || connection?.source || "the source";
  }

  /** Shows what went wrong at the top of the screen, in place of what went wrong before. */
  function alert(text) {
    view.querySelector(".alert")?.remove();
    const box = h("p", { class: "alert", role: "alert", tabindex: "-1" }, text);
    view.querySelector("h1").after(box);
    box.focus();
  }

  function failure(error) {
    if (!(error instanceof Refusal)) return "There is no connection to the server. Please try again.";
    if (error.status === 429 || error.status >= 500) return "The server is busy. Please try again in a moment.";
    return error.message;
  }

  /** Does what the person asked for, with everything switched off meanwhile. */
  async function deed(work) {
    const controls = [...view.querySelectorAll("button")];
    for (const control of controls) control.disabled = true;
    try {
      await work();
    } catch (error) {
      if (!over(error)) alert(failure(error));
    } finally {
      for (const control of controls) control.disabled = false;
    }
  }

  /** Ends the page where the server no longer knows its bearer; returns whether it did. */
  function over(error) {
    if (!(error instanceof Refusal) || error.status !== 401) return false;
    unfollow();
    tell("failed");
    show(
      "over",
      "This page has ended",
      h("p", {}, "It was open for too long. Please go back to the application and start again."),
      leave("failed"),
    );
    return true;
  }

  // --- Forms --------------------------------------------------------------------------------

  const WIDGETS = {
    text_input(part, id) {
      const input = h("input", {
        id,
        type: part.sensitive ? "password" : "text",
        autocomplete: part.autocomplete || "off",
        autocapitalize: "none",
        autocorrect: "off",
        spellcheck: "false",
        inputmode: part.pattern && /^(\[0-9\]|\\d|[{}0-9,+*])+$/.test(part.pattern) ? "numeric" : undefined,
        value: part.default || undefined,
      });
      if (!part.sensitive) return { node: input, read: () => input.value };
      const reveal = h("button", { type: "button", class: "small", "aria-pressed": "false" }, "Show");
      reveal.setAttribute("aria-label", `Show ${part.label}`);
      reveal.addEventListener("click", () => {
        const open = input.type === "password";
        input.type = open ? "text" : "password";
        reveal.setAttribute("aria-pressed", String(open));
      });
      return { node: h("div", { class: "secret" }, input, reveal), control: input, read: () => input.value };
    },

    date(part, id) {
      const input = h("input", { id, type: "date" });
      return { node: input, read: () => input.value };
    },

    number(part, id) {
      const input = h("input", { id, type: "text", inputmode: "decimal", autocomplete: "off" });
      return { node: input, read: () => input.value.trim() };
    },

    radio_buttons(part, id) {
      const radios = part.choices.map((choice, at) =>
        h("input", {
          type: "radio",
          id: at === 0 ? id : undefined,
          name: id,
          value: choice.id,
          checked: choice.id === part.default,
        }),
      );
      const lines = part.choices.map((choice, at) => h("label", { class: "choice" }, radios[at], h("span", {}, choice.label)));
      const read = () => radios.find((radio) => radio.checked)?.value || "";
      return { node: h("div", {}, lines), control: radios[0], group: true, read };
    },

    list_box(part, id) {
      const options = part.choices.map((choice) => option(choice, part));
      const select = h("select", { id, size: Math.min(Math.max(options.length, 2), 6) }, options);
      return { node: select, read: () => select.value };
    },

    drop_down(part, id) {
      const empty = part.default ? [] : [h("option", { value: "" }, "Choose…")];
      const select = h("select", { id }, empty, part.choices.map((choice) => option(choice, part)));
      return { node: select, read: () => select.value };
    },

    combo_box(part, id) {
      const chosen = part.choices.find((choice) => choice.id === part.default);
      const input = h("input", { id, list: `${id}-list`, autocomplete: "off", value: chosen?.label });
      const list = h("datalist", { id: `${id}-list` }, part.choices.map((choice) => h("option", { value: choice.label })));
      const read = () => {
        const typed = input.value.trim().toLowerCase();
        const fits = part.choices.find((choice) => choice.label.toLowerCase() === typed);
        return fits ? fits.id : input.value.trim();
      };
      return { node: h("div", {}, input, list), control: input, read };
    },
  };

  const option = (choice, part) =>
    h("option", { value: choice.id, selected: choice.id === part.default }, choice.label);

  function widgetOf(part) {
    if (part.kind !== "choices") return part.kind;
    const labels = new Set(part.choices.map((choice) => choice.label.toLowerCase()));
    if (part.widget === "combo_box" && labels.size < part.choices.length) return "drop_down";
    return part.widget || (part.choices.length <= 5 ? "radio_buttons" : "drop_down");
  }

  function hintOf(part) {
    if (part.kind === "choices" && part.widget === "combo_box") return "Type, or choose from the list.";
    if (part.kind !== "number") return null;
    const [min, max] = [part.min ?? null, part.max ?? null];
    if (min !== null && max !== null) return `A number from ${min} to ${max}.`;
    if (min !== null) return `A number, at least ${min}.`;
    return max !== null ? `A number, at most ${max}.` : "A number.";
  }

  /** Makes the field of one part that takes a value. */
  function field(part, number) {
    const id = `field-${number}`;
    const optional = part.kind === "text_input" && part.default === "";
    const mark = optional ? h("span", { class: "optional" }, " (optional)") : null;
    const { node, control = node, group, read } = WIDGETS[widgetOf(part)](part, id);
    const hint = hintOf(part);
    const note = hint && h("p", { class: "hint", id: `${id}-hint` }, hint);
    const wrong = h("p", { class: "wrong", id: `${id}-wrong`, hidden: true });
    const box = group
      ? h("fieldset", { class: "field" }, h("legend", {}, part.label, mark), note, node, wrong)
      : h("div", { class: "field" }, h("label", { for: id }, part.label, mark), note, node, wrong);
    const described = group ? box : control;
    if (note) described.setAttribute("aria-describedby", note.id);
    if (!optional) {
      if (group) control.required = true;
      else control.setAttribute("aria-required", "true");
    }
    const blame = (text) => {
      wrong.hidden = !text;
      wrong.textContent = text || "";
      const about = [note && note.id, text && wrong.id].filter(Boolean).join(" ");
      if (about) described.setAttribute("aria-describedby", about);
      else described.removeAttribute("aria-describedby");
      if (text) control.setAttribute("aria-invalid", "true");
      else control.removeAttribute("aria-invalid");
    };
    return { part, box, control, read, blame, optional };
  }

  /** Returns what is wrong with a value before it is sent; the server judges it in any case. */
  function faultOf({ part, optional }, value) {
    if (value === "") {
      if (optional) return null;
      return part.kind === "choices" ? "Please choose one." : "Please fill this in.";
    }
    if (part.kind === "choices" && !part.choices.some((choice) => choice.id === value)) {
      return "Please choose one from the list.";
    }
    if (part.max_length && [...value].length > part.max_length) {
      return `This has more than ${part.max_length} characters.`;
    }
    if (part.pattern) {
      try {
        if (!new RegExp(`^(?:${part.pattern})$`, "u").test(value)) return "This does not have the form that is asked for.";
      } catch {
        // A regular expression of the server's own kind; the server will judge.
      }
    }
    if (part.kind === "number") {
      const number = Number(value);
      if (!Number.isFinite(number)) return "Please enter a number.";
      if (part.min !== undefined && part.min !== null && number < part.min) return `This is less than ${part.min}.`;
      if (part.max !== undefined && part.max !== null && number > part.max) return `This is more than ${part.max}.`;
    }
    return null;
  }

  /** Reads all fields; where one is wrong it says so there, moves the focus and returns nothing. */
  function readAll(fields) {
    const values = fields.map((one) => {
      const value = one.read();
      // Codes are often copied with the spaces that they are written with.
      return one.part.compact ? value.replace(/\s/g, "") : value;
    });
    const faults = fields.map((one, at) => faultOf(one, values[at]));
    return blameAll(fields, faults) ? null : values;
  }

  function blameAll(fields, faults) {
    view.querySelector(".alert")?.remove();
    fields.forEach((one, at) => one.blame(faults[at]));
    const first = faults.findIndex(Boolean);
    if (first >= 0) fields[first].control.focus();
    return first >= 0;
  }

  function formOf(children, onsubmit) {
    const submit = (event) => {
      event.preventDefault();
      deed(onsubmit);
    };
    return h("form", { novalidate: true, onsubmit: submit }, children);
  }

  // --- The screens before the fetch ---------------------------------------------------------

  async function start() {
    const opened = await call("POST", `/connect/${link}/session`);
    session = opened;
    const listed = await call("GET", "/v1/sources");
    sources = listed.data.filter((one) => one.enabled !== false && one.connectable !== false);
    if (session.connection) return repair();
    source = sources.find((one) => one.name === session.source) || null;
    if (session.source && !source) return gone("This source cannot be connected at present.");
    if (!source && sources.length === 1) source = sources[0];
    return source ? credentials() : pick();
  }

  function gone(text) {
    tell("failed");
    show("gone", "This cannot be done", h("p", {}, text), leave("failed"));
  }

  function pick() {
    if (sources.length === 0) return gone("There is nothing to connect to at present.");
    source = null;
    const list = h("ul", { class: "sources" });
    const fill = (text) => {
      const wanted = text.trim().toLowerCase();
      const fits = sources.filter((one) => `${one.title || one.label || ""} ${one.name}`.toLowerCase().includes(wanted));
      const lines = fits.map((one) => {
        const chosen = () => {
          source = one;
          credentials();
        };
        return h("li", {}, button(one.title || one.label || one.name, chosen));
      });
      list.replaceChildren(...lines);
      return fits.length;
    };
    fill("");
    let search = null;
    if (sources.length > FEW) {
      const input = h("input", { id: "search", type: "search", autocomplete: "off" });
      input.addEventListener("input", () => {
        const count = fill(input.value);
        say(count === 1 ? "1 source" : `${count} sources`);
      });
      search = h("div", { class: "field" }, h("label", { for: "search" }, "Search"), input);
    }
    show("pick", "What do you want to connect?", search, list);
  }

  const credentialParts = () =>
    (source?.credential_fields || []).map((one) => ({
      kind: "text_input",
      id: one.id,
      label: one.label,
      sensitive: one.sensitive,
      default: one.optional ? "" : undefined,
      autocomplete: one.sensitive ? "current-password" : "username",
    }));

  function credentials() {
    const parts = credentialParts();
    const fields = parts.map(field);
    const key = onceKey();
    const connect = async () => {
      const values = readAll(fields);
      if (!values) return;
      const given = Object.fromEntries(parts.map((part, at) => [part.id, values[at]]));
      const body = { source: source.name };
      if (parts.length > 0) body.credentials = given;
      connection = await send(fields, parts, () =>
        call("POST", `${account()}/connections`, body, { "idempotency-key": key }),
      );
      if (!connection) return;
      gaveCredentials = parts.length > 0;
      follow();
    };
    const back = !session.source && sources.length > 1 ? button("Choose another", pick) : null;
    const actions = h("div", { class: "actions" }, h("button", { class: "primary" }, "Connect"), back);
    show(
      "credentials",
      `Log in to ${name()}`,
      h("p", { class: "soft" }, parts.length > 0 ? "Use the login that you use there." : "There is nothing to fill in."),
      formOf([...fields.map((one) => one.box), actions], connect),
    );
  }

  async function repair() {
    connection = { id: session.connection };
    connection = await call("GET", place());
    source = sources.find((one) => one.name === connection.source) || null;
    if (BUSY.has(connection.state) || connection.state === "question") return follow();
    const parts = credentialParts();
    const fields = parts.map(field);
    const replace = async () => {
      const values = readAll(fields);
      if (!values) return;
      const given = Object.fromEntries(parts.map((part, at) => [part.id, values[at]]));
      before = connection.version;
      const sent = await send(fields, parts, () => call("PUT", `${place()}/credentials`, { credentials: given }));
      if (sent === undefined) return;
      gaveCredentials = true;
      follow();
    };
    const actions = h(
      "div",
      { class: "actions" },
      parts.length > 0 ? h("button", { class: "primary" }, "Log in again") : null,
      button("Try again as it is", () => deed(again), parts.length === 0),
    );
    const why = words(connection.outcome);
    show(
      "repair",
      `Repair the connection to ${name()}`,
      why ? h("p", { class: "told" }, why) : null,
      h("p", { class: "soft" }, "Until the new login has worked, everything stays as it is."),
      formOf([...fields.map((one) => one.box), actions], replace),
    );
  }

  /** Sends a form; where the server finds fault with a field it is said there, and nothing is returned. */
  async function send(fields, parts, request) {
    try {
      return await request();
    } catch (error) {
      if (!(error instanceof Refusal) || error.status !== 422) throw error;
      const faults = fields.map((one, at) => {
        const ends = [`/credentials/${one.part.id}`, `/parts/${at}/value`];
        return error.faults.find((fault) => ends.some((end) => (fault.pointer || "").endsWith(end)))?.detail;
      });
      if (!blameAll(fields, faults)) throw error;
      return undefined;
    }
  }

  async function again() {
    before = connection.version;
    await call("POST", `${place()}/fetch`, undefined, { "idempotency-key": onceKey() });
    follow();
  }

  // --- Following the fetch ------------------------------------------------------------------

  function follow() {
    documents = null;
    progress("manual");
    if (following) return void refresh();
    following = new AbortController();
    watch(following.signal);
  }

  function unfollow() {
    following?.abort();
    following = null;
  }

  /** Reads the connection whenever something happens to it, and every so often while it cannot be told. */
  async function watch(signal) {
    let cursor = null;
    while (!signal.aborted) {
      try {
        const path = `/connections/${connection.id}`;
        const patterns = [`* /accounts/${session.account}${path}/**`, `* /accounts/${session.account}${path}`];
        const query = patterns.map((one) => `pattern=${encodeURIComponent(one)}`).join("&");
        const response = await fetch(`${base}/v1/changes/stream?${query}`, {
          headers: {
            authorization: `Bearer ${session.token}`,
            accept: "text/event-stream",
            ...(cursor ? { "last-event-id": cursor } : {}),
          },
          cache: "no-store",
          credentials: "omit",
          signal,
        });
        // The stream begins at the present end of the log, so what is read now misses nothing.
        if (response.ok) {
          refresh();
          for await (const event of events(response.body)) {
            if (event.id) cursor = event.id;
            if (event.data) happened(event.data);
          }
        } else {
          cursor = null;
        }
      } catch {
        // Off line, or a proxy that does not let streams through: then it is asked now and then.
      }
      if (signal.aborted) return;
      refresh();
      await pause(POLL_MS);
    }
  }

  /** Takes a stream of Server-Sent Events apart. */
  async function* events(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
        const event = { id: "", data: "" };
        for (const line of rest.slice(0, end).split("\n")) {
          const [, kind, text] = /^(id|data): ?(.*)$/.exec(line) || [];
          if (kind) event[kind] += text;
        }
        rest = rest.slice(end + 2);
        yield event;
      }
    }
  }

  function happened(data) {
    try {
      const facts = JSON.parse(data).body;
      if (typeof facts.documents === "number") documents = facts.documents;
    } catch {
      // What it was is read from the connection.
    }
    refresh();
  }

  let reading = false;
  let readAgain = false;

  /** Reads the connection and shows how it stands; one reading at a time. */
  async function refresh() {
    if (reading) {
      readAgain = true;
      return;
    }
    reading = true;
    do {
      readAgain = false;
      try {
        connection = await call("GET", place());
        if (following) await settle();
      } catch (error) {
        if (error instanceof Refusal && error.status === 404 && following) removed();
        else over(error);
      }
    } while (readAgain && following);
    reading = false;
  }

  async function settle() {
    if (before !== null && connection.version === before) return;
    if (connection.state === "question") return question();
    if (BUSY.has(connection.state)) return progress(connection.state);
    ended();
  }

  function progress(state) {
    const step = state === "uploading" ? 1 : 0;
    const count = documents ? ` (${documents === 1 ? "1 document" : `${documents} documents`} so far)` : "";
    const words = [`Logging in to ${name()}`, `Fetching${count}`, "Done"];
    if (shown !== "progress") {
      const lines = words.map((text) => h("li", {}, h("span", {}, text)));
      show(
        "progress",
        `Connecting to ${name()}`,
        h("ol", { class: "steps" }, lines),
        h("p", { class: "soft" }, "Please leave this page open: there may be a question for you."),
      );
    }
    view.querySelectorAll(".steps li").forEach((line, at) => {
      line.dataset.is = at < step ? "done" : at === step ? "now" : "later";
      if (at === step) line.setAttribute("aria-current", "step");
      else line.removeAttribute("aria-current");
      line.firstChild.textContent = words[at];
    });
    say(`${words[step]}…`);
  }

  // --- Questions ----------------------------------------------------------------------------

  const NOTICES = new Set([
    "not_paperless",
    "not_supported",
    "user_action_required",
    "locked_out",
    "set_up_account",
    "retry",
  ]);

  async function question() {
    const listed = await call("GET", `${place()}/interactions`);
    const open = listed.data.find((one) => !one.closed && !one.closed_at);
    if (!open) return;
    if (shown !== `question ${open.id}`) ask(open);
  }

  function ask(open) {
    const notice = NOTICES.has(open.code);
    const asked = open.parts.filter((part) => INPUTS.has(part.kind)).map((part) => decorate(open, part));
    const fields = asked.map(field);
    const redirect = open.parts.find((part) => part.kind === "redirect");
    const children = open.parts.map((part) => {
      const at = asked.findIndex((one) => one.id === part.id);
      return at >= 0 ? fields[at].box : piece(part);
    });
    const answer = (extra, without) => async () => {
      const values = without ? [] : readAll(fields);
      if (!values) return;
      const parts = values.map((value, at) => ({ id: asked[at].id, value }));
      const response = { version: open.version, parts: [...parts, ...extra] };
      await respond(open, fields, asked, response, without);
    };
    const usual = notice ? "OK" : redirect ? "I am back" : "Continue";
    const others = open.parts
      .filter((part) => part.kind === "button")
      .map((part) => {
        const extra = [{ id: part.id, value: part.action }];
        return button(part.label, () => deed(answer(extra, part.action === "defer")));
      });
    const actions = h("div", { class: "actions" }, h("button", { class: "primary" }, usual), others);
    const refused =
      open.code === "credentials" && gaveCredentials
        ? h("p", { class: "alert" }, `${name()} did not accept this login. Please check it and try again.`)
        : null;
    show(
      `question ${open.id}`,
      open.title || TITLES[open.code] || `A question from ${name()}`,
      refused,
      formOf([...children, timer(open), actions], answer([], false)),
    );
    say(notice ? `A notice from ${name()}` : `${name()} asks you something`);
  }

  /** Adds what the kind of question says about a field. */
  function decorate(open, part) {
    if (part.kind !== "text_input") return part;
    if (open.code === "one_time_code") {
      // A code that somebody sent a moment ago is no secret from who is to type it.
      return { ...part, sensitive: false, autocomplete: "one-time-code", compact: true };
    }
    if (open.code === "credentials") {
      return { ...part, autocomplete: part.sensitive ? "current-password" : "username" };
    }
    return part;
  }

  /** Shows a part that takes no value. */
  function piece(part) {
    const elsewhere = { target: "_blank", rel: "noopener noreferrer" };
    const opens = h("span", { class: "hidden" }, " (opens in a new tab)");
    switch (part.kind) {
      case "static_text":
        return h("p", { class: "told" }, part.text);
      case "image":
        return h(
          "div",
          { class: "picture" },
          h("img", { src: `data:${part.media_type};base64,${part.data}`, alt: part.label }),
        );
      case "link":
        return h("p", {}, h("a", { href: part.url, ...elsewhere }, part.text, opens));
      case "redirect":
        return h("p", {}, h("a", { href: part.url, class: "button", ...elsewhere }, part.label, opens));
      default:
        return null;
    }
  }

  function timer(open) {
    if (!open.expires_at) return null;
    const end = Date.parse(open.expires_at);
    const line = h("p", { class: "hint", "aria-live": "off" });
    let warned = false;
    const tick = () => {
      const left = Math.max(0, Math.round((end - Date.now()) / 1000));
      const clock = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
      line.textContent = left > 0 ? `Time left to answer: ${clock}` : "The time to answer is over.";
      if (left === 0) {
        clearInterval(countdown);
        refresh();
      } else if (left <= 60 && !warned) {
        warned = true;
        say("One minute is left to answer.");
      }
    };
    // Shown once the screen is up, for a new screen ends the one before's.
    queueMicrotask(() => {
      tick();
      countdown = setInterval(tick, 1000);
    });
    return line;
  }

  async function respond(open, fields, asked, response, deferred) {
    before = connection.version;
    try {
      const path = `${place()}/interactions/${open.id}/response`;
      const sent = await send(fields, asked, async () => (await call("PUT", path, response)) || {});
      if (sent === undefined) return;
    } catch (error) {
      // It was answered elsewhere, or its time is over: how it stands now says what to do.
      if (!(error instanceof Refusal) || (error.status !== 409 && error.status !== 410)) throw error;
      before = null;
      progress("connecting");
      return refresh();
    }
    if (deferred) return later();
    if (open.code === "credentials") gaveCredentials = true;
    progress("answered");
    refresh();
  }

  // --- How it ended -------------------------------------------------------------------------

  function finish(status, title, ...children) {
    unfollow();
    tell(status);
    show(status, title, ...children);
    say(title);
  }

  function ended() {
    const outcome = connection.outcome || {};
    const kind = outcome.kind || outcome;
    const retry = button("Try again now", () => deed(again));
    const anew = source ? button("Log in again", () => deed(repair)) : null;
    const { state, access } = connection;
    if (state === "disabled") {
      return finish("failed", "This connection is switched off", leave("failed"));
    }
    if (access === "reauth_required" || access === "revoked") {
      const text = words(outcome) || `${name()} did not accept the login.`;
      return finish("failed", `${name()} is not connected`, h("p", { class: "told" }, text), leave("failed", anew));
    }
    if (kind === "user_too_slow") {
      const text = `${name()} waited for your answer and gave up. Start again when you are ready.`;
      return finish("failed", "The time to answer is over", h("p", {}, text), leave("failed", retry));
    }
    if (state === "error") {
      const text = words(outcome) || "Something went wrong there.";
      return finish("failed", `${name()} is not connected`, h("p", { class: "told" }, text), leave("failed", retry, anew));
    }
    if (kind === "success" || kind === "partial") return connected(kind);
    const when = connection.next_attempt_at && new Date(connection.next_attempt_at);
    const text = words(outcome) || `${name()} cannot be asked at present.`;
    const next = when ? `It is tried again ${soon(when)}. You need not wait for it.` : null;
    finish(
      "pending",
      `${name()} will be connected later`,
      h("p", { class: "told" }, text),
      next ? h("p", {}, next) : null,
      leave("pending", retry),
    );
  }

  function connected(kind) {
    const count = documents ?? connection.documents ?? 0;
    const came =
      count === 0
        ? "There are no documents yet. New ones are fetched as they appear."
        : `${count === 1 ? "1 document has" : `${count} documents have`} been fetched.`;
    const missing = kind === "partial" ? h("p", {}, "Some of it could not be fetched. It is tried again later.") : null;
    finish("connected", `${name()} is connected`, h("p", {}, came), missing, leave("connected"));
  }

  function later() {
    const text = "The question stays open. You can answer it when you come back.";
    finish("pending", "Answer later", h("p", {}, text), leave("pending"));
  }

  function removed() {
    finish("failed", "This connection was removed", leave("failed"));
  }

  function words(outcome) {
    if (!outcome) return null;
    return outcome.message || (outcome.error && outcome.error.message) || null;
  }

  function soon(when) {
    const minutes = Math.round((when - Date.now()) / 60000);
    if (minutes <= 1) return "in about a minute";
    if (minutes < 90) return `in about ${minutes} minutes`;
    const options = { weekday: "long", hour: "2-digit", minute: "2-digit" };
    return `on ${when.toLocaleString("en", options)}`;
  }

  /** The way out: to where the application said, with how it went. */
  function leave(status, ...others) {
    const children = others.filter(Boolean);
    if (session?.return_url) {
      const url = new URL(session.return_url);
      url.searchParams.set("status", status);
      if (connection?.id) url.searchParams.set("connection", connection.id);
      // The person goes back to the application, also where that shows this page in a frame.
      children.unshift(h("a", { class: "button primary", href: url.href, target: "_top", id: "leave" }, "Continue"));
    }
    const end = session?.return_url ? null : h("p", { class: "soft" }, "You can close this page.");
    return h("div", {}, end, children.length > 0 ? h("div", { class: "actions" }, children) : null);
  }

  /** Tells the application that frames this page; the browser withholds it from any other. */
  function tell(status) {
    if (window.parent === window) return;
    for (const origin of session?.frame_origins || []) {
      window.parent.postMessage({ type: "wellspring.connect", status, connection: connection?.id || null }, origin);
    }
  }

  const FEW = 7;
  const POLL_MS = 2000;
  const INPUTS = new Set(["text_input", "choices", "date", "number"]);
  const BUSY = new Set(["created", "manual", "connecting", "uploading", "answered", "completed"]);
  const TITLES = {
    credentials: "Your login",
    pin: "Your PIN",
    branch_code: "Your branch",
    region: "Your region",
    one_time_code: "Your code",
    code_delivery: "A code for you",
    secret_question: "Your secret question",
    captcha: "Are you a person?",
    consent: "Your agreement",
    not_paperless: "Statements on paper",
    not_supported: "Account not supported",
    user_action_required: "Something for you to do",
    locked_out: "Your account is locked",
    set_up_account: "Your account is not set up",
    retry: "Please try again",
  };

  // A phone that slept has missed what happened.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && following) refresh();
  });

  const begin = document.getElementById("start");
  begin.hidden = false;
  begin.addEventListener("click", () =>
    deed(async () => {
      try {
        await start();
      } catch (error) {
        const spent = error instanceof Refusal && !session && (error.status === 404 || error.status === 410);
        if (!spent) throw error;
        show(
          "spent",
          "This link cannot be used any more",
          h("p", {}, "It was used already, or its time is over. Please go back to the application and start again."),
        );
      }
    }),
  );
})();
