// The pictures of this session, newest first.

import { byId, clone } from './dom.js';
import { showPixels, showProgress } from './viewer.js';

/** Tiles to choose from; `choose` is called with the picture that should be looked at. */
export class Gallery {
  tiles = new Map();

  constructor(choose) {
    this.choose = choose;
    this.list = byId('tiles');
    this.list.addEventListener('keydown', (event) => this.walk(event));
  }

  /** Put the pictures of one request in front, in their order. */
  add(pictures) {
    const made = pictures.map((picture) => this.tileOf(picture));
    this.list.prepend(...made);
    byId('gallery').hidden = false;
  }

  tileOf(picture) {
    const item = clone('tile-template');
    const button = item.querySelector('button');
    const render = () => renderTile(button, picture);
    button.addEventListener('click', () => this.choose(picture));
    picture.addEventListener('change', render);
    render();
    this.tiles.set(picture, item);
    return item;
  }

  /** Mark the picture that is looked at. */
  mark(chosen) {
    for (const [picture, item] of this.tiles) {
      item.firstElementChild.setAttribute('aria-current', picture === chosen);
    }
  }

  /** Take a picture out; returns a neighbour to look at instead, or null. */
  remove(picture) {
    const item = this.tiles.get(picture);
    const next = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    this.tiles.delete(picture);
    picture.drop();
    byId('gallery').hidden = !this.tiles.size;
    return [...this.tiles].find(([, tile]) => tile === next)?.[0] ?? null;
  }

  walk(event) {
    const beside = { ArrowLeft: 'previousElementSibling', ArrowRight: 'nextElementSibling' }[event.key];
    const button = beside && event.target.closest('li')?.[beside]?.firstElementChild;
    if (!button) return;
    event.preventDefault();
    button.focus();
    button.click();
  }
}

function renderTile(button, picture) {
  button.dataset.state = picture.state;
  button.setAttribute('aria-label', `${picture.prompt}, seed ${picture.seed}`);
  showPixels(button.querySelector('img'), picture);
  showProgress(button.querySelector('progress'), picture);
  button.querySelector('.state').textContent = picture.said;
}
