// Painting a mask: the dialog, the brush, and the PNG the API expects.

import { byId } from './dom.js';

const TINT = '#f5a623';
const NUDGE = 0.02; // of the picture's width, for each press of an arrow

/** Draw a picture and, in colour, what a mask of strokes covers. */
export function drawMasked(canvas, bitmap, strokes) {
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = canvas.getContext('2d');
  context.drawImage(bitmap, 0, 0);
  if (!strokes.length) return;
  const layer = new OffscreenCanvas(bitmap.width, bitmap.height);
  paint(layer.getContext('2d'), strokes, TINT);
  context.globalAlpha = 0.6;
  context.drawImage(layer, 0, 0);
}

/** The mask as a PNG of the picture's size: alpha 0 where it should be redrawn. */
export function maskOf({ width, height }, strokes) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d');
  context.fillRect(0, 0, width, height);
  context.globalCompositeOperation = 'destination-out';
  paint(context, strokes, '#000');
  return canvas.convertToBlob({ type: 'image/png' });
}

/** Let the person paint on a picture; resolves to the strokes, or null if they cancel. */
export function paintMask(bitmap, strokes) {
  return new MaskPainter(bitmap, strokes).ask();
}

class MaskPainter {
  constructor(bitmap, strokes) {
    this.bitmap = bitmap;
    this.strokes = [...strokes];
    this.dialog = byId('mask-dialog');
    this.canvas = byId('mask-canvas');
    this.cursor = [bitmap.width / 2, bitmap.height / 2];
  }

  ask() {
    const ended = new AbortController();
    const on = (target, type, act) => target.addEventListener(type, act, { signal: ended.signal });
    on(this.canvas, 'pointerdown', (event) => this.begin(event));
    on(this.canvas, 'pointermove', (event) => this.extend(event));
    on(this.canvas, 'keydown', (event) => this.key(event));
    on(byId('brush'), 'input', () => this.render());
    on(byId('mask-undo'), 'click', () => this.set(this.strokes.slice(0, -1)));
    on(byId('mask-clear'), 'click', () => this.set([]));
    this.dialog.returnValue = 'cancel';
    this.render();
    this.dialog.showModal();
    this.canvas.focus();
    return new Promise((resolve) => {
      on(this.dialog, 'close', () => {
        ended.abort();
        resolve(this.dialog.returnValue === 'use' ? this.strokes : null);
      });
    });
  }

  get width() {
    return Number(byId('brush').value) / 100 * this.bitmap.width;
  }

  set(strokes) {
    this.strokes = strokes;
    this.render();
  }

  begin(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.cursor = this.pointOf(event);
    this.set([...this.strokes, { width: this.width, points: [this.cursor] }]);
  }

  extend(event) {
    this.cursor = this.pointOf(event);
    if (event.buttons) this.strokes.at(-1)?.points.push(this.cursor);
    this.render();
  }

  pointOf(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.bitmap.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  key(event) {
    const step = NUDGE * this.bitmap.width * (event.shiftKey ? 4 : 1);
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const wider = { '[': -2, ']': 2 }[event.key];
    if (moves[event.key]) this.move(moves[event.key]);
    else if (event.key === ' ') this.strokes.push({ width: this.width, points: [this.cursor] });
    else if (wider) byId('brush').valueAsNumber += wider;
    else return;
    event.preventDefault();
    this.render();
  }

  move([dx, dy]) {
    const within = (value, most) => Math.min(most, Math.max(0, value));
    const [x, y] = this.cursor;
    this.cursor = [within(x + dx, this.bitmap.width), within(y + dy, this.bitmap.height)];
  }

  render() {
    drawMasked(this.canvas, this.bitmap, this.strokes);
    const context = this.canvas.getContext('2d');
    context.beginPath();
    context.arc(...this.cursor, this.width / 2, 0, 2 * Math.PI);
    context.lineWidth = this.bitmap.width / 250;
    context.strokeStyle = '#fff';
    context.globalCompositeOperation = 'difference';
    context.stroke();
  }
}

function paint(context, strokes, colour) {
  context.lineCap = context.lineJoin = 'round';
  context.strokeStyle = context.fillStyle = colour;
  for (const { width, points } of strokes) {
    context.lineWidth = width;
    context.beginPath();
    context.arc(...points[0], width / 2, 0, 2 * Math.PI); // a line of one point draws nothing
    context.fill();
    context.beginPath();
    for (const point of points) context.lineTo(...point);
    context.stroke();
  }
}
