"use strict";
// What a person may do here: a dialog asks, sends the request of the REST API, and follows the run until it ends.
// Airflow's frame allows no window.confirm. Every text becomes text: nothing here is parsed as HTML.
{
  const airflow = document.body.dataset.airflow;
  const dialog = document.getElementById("action");
  const form = dialog.querySelector("form");
  const [title, question, fields, state, fault] = ["title", "question", "fields", "state", "fault"].map((part) =>
    dialog.querySelector(`.${part}`),
  );
  const [cancel, confirm] = [dialog.querySelector("[data-cancel]"), form.querySelector("[type=submit]")];
  const POLL = 1500; // milliseconds
  const PATIENCE = 40; // seconds after which a run that has not started needs a word
  const FOCUS = "keel.focus";
  const ENDED = new Set(["success", "failed"]);
  let current = null;

  const element = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

  const HINTS = { duration: "such as 90m, 8h or 2d", number: "a number" };

  const fieldOf = (field) => {
    const id = `field-${field.name}`;
    let input;
    if (field.kind === "choice") {
      const options = field.required || field.choices.includes("") ? field.choices : ["", ...field.choices];
      input = element("select", {}, ...options.map((choice) => element("option", { value: choice, textContent: choice })));
      input.value = field.value;
    } else {
      input = element("input", { type: "text", value: field.value, autocomplete: "off", spellcheck: field.kind === "text" });
      if (field.kind === "number") input.inputMode = "decimal";
      if (field.kind === "flag") Object.assign(input, { type: "checkbox", value: "yes" });
    }
    Object.assign(input, { id, name: field.name, required: field.required });
    const hint = HINTS[field.kind] ? element("span", { className: "hint", id: `${id}-hint`, textContent: HINTS[field.kind] }) : "";
    const error = element("span", { className: "error", id: `${id}-error` });
    input.setAttribute("aria-describedby", [hint && hint.id, error.id].filter(Boolean).join(" "));
    if (field.kind === "flag") {
      return element("div", { className: "field flag" }, input, element("label", { htmlFor: id, textContent: field.label }), error);
    }
    const optional = field.required ? "" : element("span", { className: "hint", textContent: " (optional)" });
    return element("div", { className: "field" }, element("label", { htmlFor: id }, field.label, optional), input, hint, error);
  };

  const open = (action, button) => {
    current = { action, place: button.closest("section")?.querySelector("h2")?.id, key: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, isSent: false, hasEnded: false };
    title.textContent = action.label;
    question.textContent = action.question;
    fields.replaceChildren(...action.fields.map(fieldOf));
    fields.hidden = false;
    show(state);
    show(fault);
    confirm.textContent = action.label;
    confirm.classList.toggle("danger", action.danger);
    confirm.hidden = confirm.disabled = false;
    cancel.textContent = "Cancel";
    dialog.showModal();
    (fields.querySelector("input, select") ?? (action.danger ? cancel : confirm)).focus();
  };

  const show = (where, ...parts) => {
    where.replaceChildren(...parts);
    where.hidden = !parts.length;
  };

  const bodyOf = ({ action }) => {
    const body = { ...action.body };
    for (const field of action.fields) {
      const input = form.elements[field.name];
      if (field.kind === "flag") {
        if (input.checked) body[field.name] = true;
        continue;
      }
      const text = input.value.trim();
      if (!text) continue;
      body[field.name] = field.kind === "number" && Number.isFinite(Number(text)) ? Number(text) : text;
    }
    return body;
  };

  const request = (running, query = "") => {
    const { method, path } = running.action;
    const headers = { "Content-Type": "application/json", Accept: "application/json", "Idempotency-Key": running.key };
    return answerOf(fetch(`${airflow}/${path}${query}`, { method, headers, body: JSON.stringify(running.body), keepalive: true }));
  };

  // Returns the status and the JSON of an answer; status 0 where there is none.
  const answerOf = async (fetched) => {
    try {
      const response = await fetched;
      const isJson = /json/.test(response.headers.get("content-type") ?? "");
      return { status: response.status, json: isJson ? await response.json() : {} };
    } catch {
      return { status: 0, json: { title: "Airflow does not answer", detail: "Check the connection, then try again." } };
    }
  };

  const showFault = (field, words) => {
    form.elements[field].setAttribute("aria-invalid", "true");
    document.getElementById(`field-${field}-error`).textContent = words;
  };

  const LOGIN_ENDED = { title: "Your login has ended", detail: "Log in again. The page comes back, the dialog does not." };

  const showProblem = ({ status, json: found }) => {
    const json = status === 401 ? LOGIN_ENDED : found; // Airflow's words are for programs
    const parts = [element("strong", { textContent: json.title || `Airflow answers ${status}` })];
    if (json.detail) parts.push(element("p", { textContent: String(json.detail) }));
    const rest = [];
    for (const { field, message, remedy } of json.errors ?? []) {
      const input = form.elements[field];
      const words = [message, remedy].filter(Boolean).join(": ");
      if (input && current.action.fields.some((each) => each.name === field)) {
        showFault(field, words);
      } else {
        rest.push(element("li", {}, element("b", { textContent: field }), ` ${words}`));
      }
    }
    if (rest.length) parts.push(element("ul", {}, ...rest));
    const here = encodeURIComponent(location.pathname + location.search);
    if (status === 401) parts.push(element("a", { href: `${airflow}/auth/login?next=${here}`, textContent: "Log in" }));
    show(fault, ...parts);
    show(state);
    (form.querySelector("[aria-invalid]") ?? fault.querySelector("a") ?? (confirm.hidden ? cancel : confirm)).focus();
  };

  const local = (address) => {
    const url = new URL(address, location.href);
    return `${url.pathname}${url.search}`;
  };
  const runLink = (json) => (json.url ? element("a", { href: local(json.url), textContent: "See the run in Airflow" }) : "");

  const WORDS = { queued: "The run waits for its start", running: "The run goes on", restarting: "The run starts again" };
  const showRun = (json, begun) => {
    const seconds = Math.round((Date.now() - begun) / 1000);
    const isLate = json.state === "queued" && seconds > PATIENCE;
    const why = isLate ? element("p", { textContent: "Is the DAG paused, or the scheduler down?" }) : "";
    const words = element("p", {}, `${WORDS[json.state] ?? `The run is ${json.state}`}: ${seconds} s. `);
    show(state, element("progress", { ariaLabel: "The run goes on" }), words, why, runLink(json));
  };

  const showEnd = (json) => {
    const good = json.state !== "failed";
    const words = json.outcome || (good ? "" : "The run failed.");
    const mark = element("strong", { className: good ? "tag good" : "tag bad", textContent: good ? "Done" : "Failed" });
    const said = words && element("p", { textContent: typeof words === "string" ? words : JSON.stringify(words) });
    show(state, mark, said, runLink(json));
    current.hasEnded = true;
    cancel.textContent = "Close";
    cancel.focus();
  };

  // Asks Airflow how the run is until it has ended, then Keel what came of it: the same key gives the same run.
  const follow = async (running, started) => {
    const begun = Date.now();
    let run = started;
    cancel.textContent = "Close, the run goes on";
    while (running === current && dialog.open && !ENDED.has(run.state)) {
      showRun(run, begun);
      await pause(POLL);
      const { status, json } = await answerOf(fetch(local(started.status_url), { headers: { Accept: "application/json" } }));
      if (status === 200) run = { ...run, state: json.state };
      else if (status === 401 || status === 403 || status === 404) return void (running === current && showProblem({ status, json }));
    }
    if (running !== current || !dialog.open) return;
    const { status, json } = await request(running, "?wait=2");
    showEnd(status === 200 ? { ...run, ...json } : run);
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const running = current;
    for (const each of form.querySelectorAll("[aria-invalid]")) each.removeAttribute("aria-invalid");
    for (const each of form.querySelectorAll(".error")) each.textContent = "";
    show(fault);
    const missing = running.action.fields.filter((field) => field.required && !form.elements[field.name].value.trim());
    for (const { name } of missing) showFault(name, "Fill this in.");
    if (missing.length) return void form.elements[missing[0].name].focus();
    running.body = bodyOf(running);
    confirm.disabled = running.isSent = true; // who closes the dialog now sees what became of it
    show(state, element("progress", { ariaLabel: "It is being sent" }), element("p", { textContent: "It is being sent." }));
    const answer = await request(running);
    if (running !== current || !dialog.open) return;
    show(state);
    confirm.disabled = false;
    running.isSent = answer.status >= 200 && answer.status <= 299;
    if (!running.isSent) return showProblem(answer);
    fields.hidden = confirm.hidden = true;
    cancel.focus();
    if (answer.status === 202 && answer.json.status_url) await follow(running, answer.json);
    else showEnd(answer.json);
  });

  cancel.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    const { isSent, place } = current ?? {};
    current = null;
    if (!isSent) return;
    if (place) sessionStorage.setItem(FOCUS, place);
    location.reload();
  });

  // The page that is loaded after an action begins, for the keyboard, where the button was.
  const place = document.getElementById(sessionStorage.getItem(FOCUS) ?? "");
  sessionStorage.removeItem(FOCUS);
  if (place) {
    place.tabIndex = -1;
    place.focus({ preventScroll: true });
  }

  for (const actions of document.querySelectorAll(".actions")) actions.hidden = false;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-action]");
    if (button) open(JSON.parse(button.dataset.action), button);
  });
}
