// The picture that the next one follows, by a ControlNet of the endpoint.

import { byId, element } from './dom.js';
import { readBitmap, pngOf } from './input.js';

/** What is followed, how strongly, and by which net; the whole field hides where there is none. */
export class Controls {
  image = null; // a data URL

  /** `tell` shows a fault. */
  constructor(tell) {
    byId('control-file').addEventListener('change', ({ target }) => this.set(target.files[0]).catch(tell));
    byId('control-drop').addEventListener('click', () => this.clear());
    this.render();
  }

  /** Offer an endpoint's ControlNets. */
  offer(names) {
    byId('control').hidden = !names.length;
    byId('control-net').replaceChildren(...names.map((name) => element('option', name, { value: name })));
    byId('control-net').parentElement.hidden = names.length < 2;
    if (!names.length) this.clear();
  }

  async set(file) {
    if (!file) return;
    this.image = await dataUrl(await pngOf(await readBitmap(file)));
    this.render();
  }

  clear() {
    this.image = null;
    byId('control-file').value = '';
    this.render();
  }

  /** Its part of a request. */
  get fields() {
    if (!this.image) return {};
    const weight = byId('control-weight').valueAsNumber;
    return { control_images: [{ image: this.image, controlnet: byId('control-net').value, weight }] };
  }

  render() {
    byId('control-choice').hidden = Boolean(this.image);
    byId('control-chosen').hidden = byId('control-more').hidden = !this.image;
    if (this.image) byId('control-image').src = this.image;
  }
}

function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener('load', () => resolve(reader.result));
    reader.addEventListener('error', () => reject(reader.error));
    reader.readAsDataURL(blob);
  });
}
