// Tokens of a text with their probabilities; those of the one that is looked at are shown below, with what else was likely.
// A text may have thousands of tokens: each of its paragraphs is a component of its own, so that those that stand are not looked
// at again when others come, and the browser draws those alone that are in sight (content-visibility, style.css).
// Arrow keys go from token to token; Python adds tokens with `add` while they are written.
const percent = (p) =>
  p >= 0.0995 ? `${(100 * p).toFixed(0)} %` : p >= 0.00095 ? `${(100 * p).toFixed(1)} %` : "< 0.1 %";

const Paragraph = {
  template: `<div class="lm-paragraph"><span
      v-for="(token, place) in part.tokens" :key="place" v-memo="[place === shown, place === stop]"
      :data-number="part.first + place" class="lm-token"
      :class="{ 'lm-end': token.end, 'lm-shown': place === shown }" :style="{ '--surprise': surprise(token) }"
      :tabindex="token.p === null ? undefined : place === stop ? 0 : -1" :aria-label="label(token)"
    >{{ token.text }}</span><span v-if="writing" class="lm-caret" aria-hidden="true"></span></div>`,
  props: { part: Object, shown: Number, stop: Number, writing: Boolean },
  methods: {
    surprise(token) {
      return token.p === null ? 0 : Math.min(-Math.log2(Math.max(token.p, 1e-6)) / 8, 1);
    },
    label(token) {
      return token.p === null ? undefined : `${token.text}, ${percent(token.p)}`;
    },
  },
};

export default {
  components: { Paragraph },
  template: `<div class="lm-wide">
    <div
      class="lm-text" :class="{ 'lm-coloured': coloured }"
      @keydown="move" @mouseleave="leave" @mouseover="hover" @focusin="look" @click="look"
    >
      <Paragraph
        v-for="(part, at) in parts" :key="at" :part="part" :shown="within(part, shown)" :stop="within(part, stop)"
        :writing="writing && at === parts.length - 1"
      />
    </div>
    <div v-if="current" class="lm-others" aria-live="polite">
      <div class="lm-row lm-chosen"><code>{{ visible(current.text) }}</code><i :style="bar(current.p)"></i><b>{{ percent(current.p) }}</b></div>
      <div v-for="other in current.others" class="lm-row">
        <code>{{ visible(other.text) }}</code><i :style="bar(other.p)"></i><b>{{ percent(other.p) }}</b>
      </div>
    </div></div>`,
  props: { start: Array, coloured: Boolean },
  data() {
    return { parts: [{ first: 0, tokens: [] }], first: null, writing: false, shown: null, pinned: false };
  },
  created() {
    this.add(this.start || [], false);
  },
  computed: {
    current() {
      const token = this.shown === null ? null : this.token(this.shown);
      return token && token.p !== null ? token : null;
    },
    stop() {
      return this.shown ?? this.first;
    },
  },
  methods: {
    percent,
    add(tokens, writing) {
      for (const token of tokens) {
        let last = this.parts[this.parts.length - 1];
        if (last.tokens.length && last.tokens[last.tokens.length - 1].text.endsWith("\n")) {
          this.parts.push({ first: last.first + last.tokens.length, tokens: [] });
          last = this.parts[this.parts.length - 1];
        }
        if (this.first === null && token.p !== null) this.first = last.first + last.tokens.length;
        last.tokens.push(Object.freeze(token));
      }
      this.writing = writing;
    },
    token(number) {
      const part = this.parts.findLast((one) => one.first <= number);
      return part.tokens[number - part.first];
    },
    within(part, number) {
      return number >= part.first && number < part.first + part.tokens.length ? number - part.first : -1;
    },
    number(event) {
      const token = event.target.closest("[data-number]");
      return token && this.token(Number(token.dataset.number)).p !== null ? Number(token.dataset.number) : null;
    },
    look(event) {
      this.choose(this.number(event));
    },
    choose(number) {
      if (number === null) return;
      this.shown = number;
      this.pinned = true;
    },
    hover(event) {
      const number = this.number(event);
      if (!this.pinned && number !== null) this.shown = number;
    },
    leave() {
      if (!this.pinned) this.shown = null;
    },
    move(event) {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") {
        this.shown = null;
        this.pinned = false;
      } else if (step) {
        const last = this.parts[this.parts.length - 1];
        const next = Math.min(Math.max(this.stop + step, 0), last.first + last.tokens.length - 1);
        event.preventDefault();
        if (this.token(next).p !== null) this.choose(next);
        this.$nextTick(() => this.$el.querySelector(`[data-number="${next}"]`)?.focus());
      }
    },
    bar(p) {
      return { width: `${Math.max(100 * p, 0.5)}%` };
    },
    visible(text) {
      return text.replace(/ /g, "·").replace(/\n/g, "↵").replace(/\t/g, "→");
    },
  },
};
