// The picture an edit starts from, and its mask.

import { Refusal } from './api.js';
import { receiptIn } from './carried.js';
import { byId } from './dom.js';
import { drawMasked, maskOf, paintMask } from './mask.js';

const MAX_EDGE = 2048; // pixels; larger pictures are reduced before they are sent

/** The input picture of the next request, if there is one. */
export class Input {
  bitmap = null;
  receipt = null;
  strokes = [];
  isOffered = true;

  /**
   * `tell` shows a fault; a file chosen, dropped or pasted becomes the input, and `drawAgain`
   * is called with the receipt it carries, if the person wants that picture once more.
   */
  constructor(tell, drawAgain) {
    const take = (file) => file && this.take(file).catch(tell);
    byId('draw-carried').addEventListener('click', () => drawAgain(this.receipt));
    byId('file').addEventListener('change', ({ target }) => take(target.files[0]));
    byId('drop-input').addEventListener('click', () => this.clear());
    byId('paint').addEventListener('click', () => this.paint());
    document.addEventListener('paste', (event) => take(event.clipboardData.files[0]));
    document.addEventListener('dragover', (event) => event.preventDefault());
    document.addEventListener('drop', (event) => {
      event.preventDefault();
      take(event.dataTransfer.files[0]);
    });
  }

  /** Start from a file of the person's, which may have been drawn here. */
  async take(file) {
    this.showReceipt(await receiptIn(file));
    if (this.isOffered || !this.receipt) await this.set(file);
  }

  showReceipt(receipt) {
    this.receipt = receipt;
    byId('carried').hidden = !receipt;
    if (!receipt) return;
    byId('carried-text').textContent = `It carries a receipt: “${receipt.prompt}”, ${receipt.model}, seed ${receipt.seed}.`;
    byId('draw-carried').textContent = receipt.num_images ? 'Use its settings' : 'Draw it again';
    byId('input').hidden = false;
  }

  /** Start from a picture. Throws a Refusal for a file that nobody here can read. */
  async set(blob) {
    if (!this.isOffered) throw new Refusal('This endpoint draws from words alone; it takes no picture.');
    this.bitmap = await readBitmap(blob);
    this.strokes = [];
    this.render();
  }

  clear() {
    this.showReceipt(null);
    this.bitmap = null;
    this.strokes = [];
    byId('file').value = '';
    this.render();
  }

  async paint() {
    this.strokes = await paintMask(this.bitmap, this.strokes) ?? this.strokes;
    this.render();
  }

  /** The blobs to send: none, an image, or an image and its mask. */
  async files() {
    if (!this.bitmap) return {};
    const image = await pngOf(this.bitmap);
    return this.strokes.length ? { image, mask: await maskOf(this.bitmap, this.strokes) } : { image };
  }

  /** Hide the whole field where the endpoint cannot edit. */
  offer(isOffered) {
    this.isOffered = isOffered;
    if (!isOffered) this.clear();
    byId('input').hidden = !isOffered;
  }

  render() {
    const { bitmap, strokes } = this;
    byId('drop').hidden = byId('size-field').hidden = Boolean(bitmap);
    byId('chosen').hidden = byId('strength-field').hidden = !bitmap;
    byId('paint').textContent = strokes.length ? 'Change the mask' : 'Paint a mask';
    if (bitmap) drawMasked(byId('chosen-image'), bitmap, strokes);
  }
}

/** A picture as pixels, of at most `MAX_EDGE`. Throws a Refusal for what is none. */
export async function readBitmap(blob) {
  const bitmap = await createImageBitmap(blob).catch(() => {
    throw new Refusal('This file is not a picture the browser can read.');
  });
  const scale = MAX_EDGE / Math.max(bitmap.width, bitmap.height);
  if (scale >= 1) return bitmap;
  return createImageBitmap(bitmap, { resizeWidth: Math.round(bitmap.width * scale), resizeQuality: 'high' });
}

/** Pixels as a PNG. */
export function pngOf(bitmap) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext('2d').drawImage(bitmap, 0, 0);
  return canvas.convertToBlob({ type: 'image/png' });
}
