// The page: what is where, and what its controls do.
import { models, ready } from "./api.js";
import { Attachments } from "./attachments.js";
import { Chat } from "./chat.js";
import { Conversations, exported } from "./conversations.js";
import { button, el, number, save, t, tell } from "./dom.js";
import { Settings } from "./settings.js";

const by = id => document.getElementById(id);
const settings = new Settings(by("settings")), conversations = new Conversations();
const select = by("model"), ask = by("ask"), input = by("message");
const fine = matchMedia("(pointer: fine)").matches; // no keyboard on the screen, which would open
const MOST_IMPORTED = 20_000_000; // bytes: more than a browser keeps
let known = [], chat = null, early = false;

// Models: the one that is chosen is loaded when it is asked, or looked at.
const model = () => known.find(one => one.id === select.value) ?? { id: select.value, about: null };
async function loaded(loading = () => {}) {
  const found = await ready(model(), loading);
  known = known.map(one => (one.id === found.id ? found : one));
  shown();
  return found;
}
async function begin() {
  try {
    known = await models();
  } catch (error) {
    by("log").replaceChildren(el("p", { class: "foot error" }, error.message));
    return;
  }
  if (known.some(one => one.about?.writes !== false)) known = known.filter(one => one.about?.writes !== false);
  select.replaceChildren(...known.map(one => el("option", { value: one.id }, one.parent ? t("adapter", { name: one.id, base: one.parent }) : one.id)));
  const wanted = [new URLSearchParams(location.search).get("model"), conversations.open?.model].find(name => known.some(one => one.id === name));
  if (wanted) select.value = wanted;
  select.disabled = known.length < 2;
  chat = new Chat({ log: by("log"), settings, conversations, model, ready: loaded, hint, changed });
  shown();
  changed();
  view();
  if (early) ask.requestSubmit();
}
function hint() {
  const { about } = model();
  if (about?.documents) return t("hint_documents");
  if (about?.translates) return t("hint_translates");
  if (about?.draws) return t("hint_draws");
  if (about?.sees) return t("hint_sees");
  return t(about && !about.chats ? "hint_no_template" : "hint");
}
/** What the chosen model can do, as far as it is known. */
function shown() {
  const { about, id, max_model_len: longest } = model();
  document.title = `${id} · lmworks`;
  select.title = about?.parameters ? t("facts", { n: number(about.parameters / 1e6), runner: about.runner, window: number(longest) }) : "";
  by("way").hidden = !about?.documents;
  for (const [name, can] of [["chat", about?.writes !== false], ["next", about?.writes && !about.translates], ["inside", about && !about.translates]]) {
    by(`to-${name}`).hidden = !can && !(known.find(one => one.id === id)?.loaded === false && name !== "chat");
  }
  if (!chat?.conversation.turns.length) chat?.show();
}
select.addEventListener("change", () => {
  shown();
  view();
});

// Views: each has an address; what the chat does not need is fetched when it is first looked at, and seen once it is there: its form
// would send to nobody before.
const started = {};
const start = name => (started[name] ??= import(`./${name}.js`)
  .then(script => script.start(by(name), { settings, model }))
  .catch(error => {
    delete started[name]; // so that it is fetched again
    throw error;
  }));
async function view() {
  const address = location.hash;
  let name = ["next", "inside"].find(one => address === `#${one}`) ?? "chat";
  try {
    if (name !== "chat") await loaded(() => tell(t("loading", { model: model().id })));
    if (by(`to-${name}`).hidden) name = ["chat", "inside"].find(one => !by(`to-${one}`).hidden) ?? "chat";
    if (name !== "chat") await start(name);
  } catch (error) {
    tell(error.message);
    name = "chat";
  }
  if (location.hash !== address) return; // another was chosen meanwhile
  for (const one of ["chat", "next", "inside"]) {
    by(one).hidden = one !== name;
    if (one === name) by(`to-${one}`).setAttribute("aria-current", "page");
    else by(`to-${one}`).removeAttribute("aria-current");
  }
}
addEventListener("hashchange", view);

// The message that is being written.
const attachments = new Attachments(by("files"), by("attach"), tell, (kind, name) => {
  const { about, id } = model(); // in the conversation a picture would stop every later answer of a model without eyes
  return kind === "picture" && about?.sees === false ? t("no_eyes", { name, model: id }) : null;
});
const grow = () => {
  input.style.height = "auto";
  input.style.height = `${Math.min(input.scrollHeight + 2, innerHeight / 2)}px`;
};
input.addEventListener("input", grow);
input.addEventListener("keydown", event => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  ask.requestSubmit();
});
ask.addEventListener("submit", event => {
  event.preventDefault();
  const text = input.value.trim();
  early = !chat; // what is sent before the models are known goes once they are
  if (!chat || chat.running || (!text && !attachments.files.length)) return;
  input.value = "";
  grow();
  chat.send(text, attachments.take());
});
addEventListener("keydown", event => { if (event.key === "Escape") chat?.stop(); });
by("stop").addEventListener("click", () => {
  chat.stop();
  input.focus();
});
by("pick").addEventListener("click", () => by("attach").click());
for (const name of ["dragover", "drop"]) {
  addEventListener(name, event => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    if (name === "drop") attachments.add(event.dataTransfer.files);
  });
}
addEventListener("pagehide", () => chat?.leave());

// Conversations: all that this browser keeps.
const search = by("search");
function changed() {
  by("send").hidden = Boolean(chat.running);
  by("stop").hidden = !chat.running;
  const focused = document.activeElement; // what had the focus may be gone: it goes where the next key is wanted
  if (fine && (focused === document.body || !focused.checkVisibility({ visibilityProperty: true }))) (chat.running ? by("stop") : input).focus();
  const found = conversations.found(search.value);
  by("kept").replaceChildren(...found.map(row));
  by("none").hidden = found.length > 0;
  by("none").textContent = t(conversations.all.size ? "none_found" : "none_kept");
}
function row(one) {
  const current = one.id === chat.conversation.id;
  return el("li", {}, button(one.title || t("untitled"), () => open(one), { class: "open", "aria-current": current ? "true" : null }),
    current && el("div", { class: "acts" }, button(t("rename"), () => rename(one)), button(t("export"), () => write([one])), button(t("delete"), () => remove(one))));
}
function open(one) {
  if (known.some(other => other.id === one.model)) select.value = one.model;
  chat.open(one);
  shown();
  changed();
  if (location.hash) location.hash = "#chat";
  if (!wide.matches) toggle("chats", false);
  input.focus();
}
function rename(one) {
  const title = prompt(t("new_name"), one.title)?.trim().slice(0, 200);
  if (!title) return;
  Object.assign(one, { title, named: true });
  conversations.keep(one);
  changed();
}
function remove(one) {
  if (!confirm(t("sure", { title: one.title }))) return;
  conversations.delete(one);
  anew();
}
function anew() {
  attachments.take();
  open(conversations.begin(model().id));
}
function write(some) {
  const text = exported(some);
  if (text) save("conversations.jsonl", text, "application/jsonl");
  else tell(t("nothing"));
}
by("new").addEventListener("click", anew);
by("export").addEventListener("click", () => write(conversations.found("")));
by("import").addEventListener("click", () => by("imported").click());
by("imported").addEventListener("change", async event => {
  const [file] = event.target.files;
  if (!file) return;
  try {
    if (file.size > MOST_IMPORTED) throw new Error(t("full"));
    tell(t("read_in", { n: conversations.read(await file.text()) }));
  } catch (error) {
    tell(error instanceof RangeError ? t("no_conversation", { name: file.name, line: error.message }) : t("full"));
  }
  event.target.value = "";
  changed();
});
search.addEventListener("input", changed);
conversations.onChange(changed);

// What stands beside: on a wide screen from the beginning, on a narrow one when it is asked for.
const wide = matchMedia("(min-width: 900px)");
function toggle(name, on) {
  const body = document.body.classList;
  body.toggle(`no-${name}`, !on && wide.matches);
  body.toggle(name, on && !wide.matches);
  by(`show-${name}`).setAttribute("aria-expanded", String(on));
}
const beside = ["chats", "settings"];
function placed() {
  for (const name of beside) toggle(name, wide.matches);
}
for (const name of beside) {
  by(`show-${name}`).addEventListener("click", () => {
    const on = by(`show-${name}`).getAttribute("aria-expanded") !== "true";
    if (on && !wide.matches) for (const other of beside) toggle(other, false);
    toggle(name, on);
  });
}
addEventListener("keydown", event => {
  if (event.key === "Escape" && !wide.matches) for (const name of beside) toggle(name, false);
});
wide.addEventListener("change", placed);
placed();

if (fine) input.focus();
begin();
