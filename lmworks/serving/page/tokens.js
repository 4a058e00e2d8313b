// Tokens of a text with their probabilities; those of the one that is looked at are shown below, with what else was likely.
// A text may have thousands of tokens: those that stand are not looked at again when others come (v-memo, frozen).
// Arrow keys go from token to token; Python adds tokens with `add` while they are written.
export default {
  template: `<div class="lm-wide">
    <div class="lm-text" :class="{ 'lm-coloured': coloured }" @keydown="move" @mouseleave="leave">
      <span
        v-for="(token, number) in tokens" :key="number" v-memo="[number === shown, number === stop]"
        :data-number="number" class="lm-token"
        :class="{ 'lm-end': token.end, 'lm-shown': number === shown }" :style="{ '--surprise': surprise(token) }"
        :tabindex="token.p === null ? undefined : number === stop ? 0 : -1" :aria-label="label(token)"
        @mouseenter="hover(number)" @focus="look(number)" @click="look(number)"
      >{{ token.text }}</span><span v-if="writing" class="lm-caret" aria-hidden="true"></span>
    </div>
    <div v-if="current" class="lm-others" aria-live="polite">
      <div class="lm-row lm-chosen"><code>{{ visible(current.text) }}</code><i :style="bar(current.p)"></i><b>{{ percent(current.p) }}</b></div>
      <div v-for="other in current.others" class="lm-row">
        <code>{{ visible(other.text) }}</code><i :style="bar(other.p)"></i><b>{{ percent(other.p) }}</b>
      </div>
    </div></div>`,
  props: { start: Array, coloured: Boolean },
  data() {
    return { tokens: (this.start || []).map(Object.freeze), writing: false, shown: null, pinned: false };
  },
  computed: {
    current() {
      const token = this.shown === null ? null : this.tokens[this.shown];
      return token && token.p !== null ? token : null;
    },
    stop() {
      return this.shown ?? this.tokens.findIndex((token) => token.p !== null);
    },
  },
  methods: {
    add(tokens, writing) {
      this.tokens.push(...tokens.map(Object.freeze));
      this.writing = writing;
    },
    look(number) {
      if (this.tokens[number].p === null) return;
      this.shown = number;
      this.pinned = true;
    },
    hover(number) {
      if (!this.pinned && this.tokens[number].p !== null) this.shown = number;
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
        const next = Math.min(Math.max(this.stop + step, 0), this.tokens.length - 1);
        event.preventDefault();
        this.look(next);
        this.$nextTick(() => this.$el.querySelector(`[data-number="${next}"]`)?.focus());
      }
    },
    surprise(token) {
      return token.p === null ? 0 : Math.min(-Math.log2(Math.max(token.p, 1e-6)) / 8, 1);
    },
    percent(p) {
      return p >= 0.0995 ? `${(100 * p).toFixed(0)} %` : p >= 0.00095 ? `${(100 * p).toFixed(1)} %` : "< 0.1 %";
    },
    bar(p) {
      return { width: `${Math.max(100 * p, 0.5)}%` };
    },
    visible(text) {
      return text.replace(/ /g, "·").replace(/\n/g, "↵").replace(/\t/g, "→");
    },
    label(token) {
      return token.p === null ? undefined : `${token.text}, ${this.percent(token.p)}`;
    },
  },
};
