// Fields: a widget for each kind of part that takes a value, and what is wrong with the value.

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
