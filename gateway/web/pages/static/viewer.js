// The picture looked at: its latest pixels, its progress, its receipt, what can be done with it.

import { announce, byId } from './dom.js';
import { receiptRows } from './receipt.js';

/**
 * Shows one picture at a time; `acts` maps an action's name to what it does with it,
 * `canEdit` tells whether a picture's endpoint takes pictures.
 */
export class Viewer {
  picture = null;

  constructor(acts, canEdit) {
    this.canEdit = canEdit;
    this.figure = byId('shown');
    this.render = this.render.bind(this);
    for (const button of this.figure.querySelectorAll('button[data-act]')) {
      button.addEventListener('click', () => acts[button.dataset.act](this.picture));
    }
  }

  /** Show a picture, or the empty page for null. */
  show(picture) {
    this.picture?.removeEventListener('change', this.render);
    this.picture = picture;
    picture?.addEventListener('change', this.render);
    this.render();
  }

  render() {
    const { picture, figure } = this;
    figure.hidden = !picture;
    byId('viewer').querySelector('.empty').hidden = Boolean(picture);
    if (!picture) return;
    figure.dataset.state = picture.state;
    showPixels(byId('shown-image'), picture);
    byId('shown-state').textContent = picture.said;
    byId('shown-prompt').textContent = picture.prompt;
    showProgress(byId('shown-progress'), picture);
    byId('receipt').replaceChildren(...receiptRows(picture));
    this.offerActions();
    announce(picture.said || `Done: ${picture.prompt}`);
  }

  offerActions() {
    const { picture, figure } = this;
    for (const control of figure.querySelectorAll('[data-act]')) {
      const { act } = control.dataset;
      const needsPixels = !['again', 'copy', 'remove'].includes(act);
      const needsEdits = ['input', 'mask'].includes(act);
      control.hidden = (needsPixels && picture.state !== 'done') || (needsEdits && !this.canEdit(picture));
      if (act === 'download' && picture.url) {
        control.href = picture.url;
        control.download = `${fileName(picture.prompt)}-${picture.seed}.${picture.blob.type.split('/')[1]}`;
      }
    }
  }
}

/** Put a picture's latest pixels into an `<img>`, or leave the frame empty. */
export function showPixels(image, picture) {
  image.hidden = !picture.url;
  if (picture.url && image.src !== picture.url) image.src = picture.url;
  image.alt = picture.url ? picture.prompt : '';
}

/** Put a picture's steps into a `<progress>`; waiting shows it indeterminate. */
export function showProgress(bar, picture) {
  bar.hidden = !picture.isOpen;
  if (picture.step) [bar.max, bar.value] = [picture.numSteps, picture.step];
  else bar.removeAttribute('value');
}

function fileName(prompt) {
  return prompt.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 48).replace(/^-|-$/g, '') || 'picture';
}
