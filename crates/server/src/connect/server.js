// The connect page speaks to the server. Whoever holds the bearer may act for the account, so it
// lives in this closure and nowhere else.

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
