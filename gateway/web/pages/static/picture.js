// One picture of this session, from the moment it is asked for.

/**
 * Fires `change` whenever a fact about it changes.
 * `state` is waiting (`waitsFor` says for what, where that is known), drawing, done, failed or
 * cancelled; `url` shows its latest pixels.
 */
export class Picture extends EventTarget {
  state = 'waiting';
  waitsFor = '';
  step = 0;
  url = null;
  blob = null;
  fault = null;
  receipt = {};
  warnings = [];

  /** `request` made it, as picture number `index`; `cancel` ends the whole request. */
  constructor(request, index, cancel) {
    super();
    this.request = request;
    this.cancel = cancel;
    this.numSteps = request.fields.num_inference_steps;
    this.seed = request.fields.seed + index;
    this.size = request.fields.size;
  }

  get prompt() {
    return this.request.fields.prompt;
  }

  get isOpen() {
    return this.state === 'waiting' || this.state === 'drawing';
  }

  /** A word for its state, or nothing where the picture speaks for itself. */
  get said() {
    if (this.state === 'drawing' && this.step) return `Step ${this.step} of ${this.numSteps}`;
    if (this.state === 'waiting' && this.waitsFor) return `${this.waitsFor}…`.replace(/^./, (first) => first.toUpperCase());
    return { waiting: 'Waiting', drawing: 'Drawing', failed: 'Failed', cancelled: 'Cancelled' }[this.state] ?? '';
  }

  change(facts) {
    Object.assign(this, facts);
    this.dispatchEvent(new Event('change'));
  }

  /** Show newer pixels, partial or final, along with other facts. */
  show(blob, facts) {
    if (this.url) URL.revokeObjectURL(this.url);
    this.change({ ...facts, blob, url: URL.createObjectURL(blob) });
  }

  /** Free its pixels; it is not shown any more. */
  drop() {
    if (this.isOpen) this.cancel();
    if (this.url) URL.revokeObjectURL(this.url);
  }
}
