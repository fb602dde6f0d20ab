// Following the fetch until it ends, and saying how it ended.

function follow() {
  documents = null;
  progress("manual");
  if (following) return void refresh();
  following = new AbortController();
  watch(following.signal);
  // Some proxies hold a stream back without ending it.
  const looking = setInterval(refresh, LOOK_MS);
  following.signal.addEventListener("abort", () => clearInterval(looking));
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

function finish(status, title, ...children) {
  unfollow();
  tell(status);
  show(status, title, ...children);
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
  // What the page was told while the fetch went on may lag behind what it reads at its end.
  const count = connection.documents ?? documents ?? 0;
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

function unchanged() {
  finish("failed", "Nothing was changed", h("p", {}, "The connection is as it was before."), leave("failed"));
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
  const options = { weekday: "long", hour: "numeric", minute: "2-digit" };
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

// A phone that slept has missed what happened.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && following) refresh();
});

const POLL_MS = 2000;
const LOOK_MS = 5000;
const BUSY = new Set(["created", "manual", "connecting", "uploading", "answered", "completed"]);
