// What the source asks, and the answers.

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
    await respond(open, fields, response, without);
  };
  const usual = notice ? "OK" : redirect ? "I am back" : "Continue";
  const others = open.parts
    .filter((part) => part.kind === "button")
    .map((part) => {
      const extra = [{ id: part.id, value: part.action }];
      return button(part.label, () => deed(answer(extra, part.action === "defer")));
    });
  const actions = h("div", { class: "actions" }, h("button", { class: "primary" }, usual), others, cancel(open));
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

/** A repair that this page began can be given up: the connection is then put back as it was. */
function cancel(open) {
  if (!session.connection || before === null) return null;
  const giveUp = async () => {
    unfollow();
    await call("DELETE", `${place()}/interactions/${open.id}`);
    unchanged();
  };
  return button("Cancel", () => deed(giveUp));
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

async function respond(open, fields, response, deferred) {
  before = connection.version;
  try {
    const path = `${place()}/interactions/${open.id}/response`;
    const sent = await send(fields, async () => (await call("PUT", path, response)) || {});
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

const INPUTS = new Set(["text_input", "choices", "date", "number"]);
const NOTICES = new Set([
  "not_paperless",
  "not_supported",
  "user_action_required",
  "locked_out",
  "set_up_account",
  "retry",
]);
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
