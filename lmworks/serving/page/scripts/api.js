// OpenAI's API, by fetch and server-sent events. What other servers do not know is sent where the model's `about` says that this is ours.
import { t } from "./dom.js";

async function asked(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(t("unreachable"));
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Error(said.error?.message ?? said.message ?? `${answer.status} ${answer.statusText}`);
}

const posted = (path, body, signal) =>
  asked(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });

export const get = async path => (await asked(path)).json();
export const post = async (path, body) => (await posted(path, body)).json();

/** What can be talked to: those that write, as far as that is known. */
export const models = async () => (await get("/v1/models")).data.filter(one => one.about?.writes !== false);

/** A model with what is known of it once it is loaded: ours tell it, and are loaded by being asked for their tokenizer. */
export async function ready(model, loading) {
  if (model.loaded !== false) return model;
  loading();
  await get(`/tokenizer_info?model=${encodeURIComponent(model.id)}`);
  return get(`/v1/models/${encodeURIComponent(model.id)}`);
}

const DRAWN = "/v1/images/generations";

/** What is asked of an answer, and where: a conversation, a text that goes on where the model has no chat template, or a picture. */
export function request(model, turns, settings, system) {
  const { about } = model, body = { model: model.id, stream: true, ...settings.fields() };
  if (about) body.stream_options = { include_usage: true };
  const last = turns.at(-1), goesOn = last.role === "assistant";
  if (about?.draws) {
    if (typeof last.content !== "string") return ["/v1/chat/completions", { ...body, messages: [last] }];
    const { content: prompt } = turns.findLast(one => one.role === "user");
    return [DRAWN, { model: model.id, prompt, ...("seed" in body ? { seed: body.seed } : {}) }];
  }
  if (about && !about.chats) {
    const text = turns.findLast(one => one.role === "user").content + (goesOn ? last.content : "");
    return ["/v1/completions", { ...body, prompt: text, ...(settings.probabilities ? { logprobs: settings.others } : {}) }];
  }
  body.messages = [...(system ? [{ role: "system", content: system }] : []), ...turns];
  if (goesOn) Object.assign(body, { add_generation_prompt: false, continue_final_message: true }); // vLLM's words for it
  const way = about?.documents ? (goesOn ? "off" : settings.way) : null;
  if (way) body.grounding = { way };
  if (about && settings.probabilities && (!way || way === "off")) Object.assign(body, { logprobs: true, top_logprobs: settings.others });
  return ["/v1/chat/completions", body];
}

/** The parts of an answer as they come: { text, tokens, finish, citations, grounding, usage, picture }. */
export async function* stream(path, body, signal) {
  const answer = await posted(path, body, signal);
  if (path === DRAWN) {
    const [{ b64_json: drawn, seed }] = (await answer.json()).data;
    yield { text: t("drawn", { prompt: body.prompt, seed }), tokens: [], finish: "stop", picture: `data:image/png;base64,${drawn}` };
    return;
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      waiting += value ?? "";
      const lines = waiting.split(/\r?\n/);
      waiting = done ? "" : lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data:")) continue;
        const said = line.slice(5).trim();
        if (said === "[DONE]") return;
        yield part(JSON.parse(said));
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {}); // the server hears of it, and stops within a step
  }
}

function part(event) {
  if (event.error) throw new Error(event.error.message);
  const choice = event.choices?.[0] ?? {}, delta = choice.delta ?? {};
  return {
    text: delta.content ?? choice.text ?? "",
    tokens: tokens(choice.logprobs),
    finish: choice.finish_reason ?? null,
    citations: delta.citations,
    grounding: delta.grounding,
    usage: event.usage,
  };
}

/** Log-probabilities in either form of the API: [{ token, bytes, logprob, top }]. */
function tokens(logprobs) {
  if (logprobs?.content) {
    return logprobs.content.map(one => ({ ...one, top: (one.top_logprobs ?? []).map(other => [other.token, other.logprob]) }));
  }
  return (logprobs?.tokens ?? []).map((token, at) => ({
    token, logprob: logprobs.token_logprobs[at], top: Object.entries(logprobs.top_logprobs?.[at] ?? {}).sort((a, b) => b[1] - a[1]),
  }));
}
