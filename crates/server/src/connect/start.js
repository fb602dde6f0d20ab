// The screens before the fetch.

async function start() {
  const opened = await call("POST", `/connect/${link}/session`);
  session = opened;
  const listed = await call("GET", "/v1/sources");
  sources = listed.data.filter((one) => one.enabled && one.takes_connections);
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
    const fits = sources.filter((one) => `${one.name}`.toLowerCase().includes(wanted));
    const lines = fits.map((one) => {
      const chosen = () => {
        source = one;
        credentials();
      };
      return h("li", {}, button(one.name, chosen));
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
    connection = await send(fields, () =>
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
    const sent = await send(fields, () => call("PUT", `${place()}/credentials`, { credentials: given }));
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
async function send(fields, request) {
  try {
    return await request();
  } catch (error) {
    if (!(error instanceof Refusal) || error.status !== 422) throw error;
    const faults = fields.map((one, at) => {
      const ends = [`/credentials/${one.part.id}`, `/parts/${at}/value`];
      const fault = error.faults.find((fault) => ends.some((end) => (fault.pointer || "").endsWith(end)));
      return fault && `This is not accepted: ${fault.detail}.`;
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

const FEW = 7;

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
