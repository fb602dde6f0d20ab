// Putting things on the screen.

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
  return source?.name || connection?.source || "the source";
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
