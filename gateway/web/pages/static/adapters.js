// The adapters of the next picture: any number of them at once, each with its scale.

import { byId, clone } from './dom.js';

/** The adapters of an endpoint, to be chosen from. */
export class Adapters {
  models = [];

  /** Offer the adapters among an endpoint's models; one is chosen where a key needs one. */
  offer(models) {
    this.models = models.filter(({ adapter }) => adapter);
    byId('adapters').hidden = models.length === 1;
    byId('adapter-list').replaceChildren(...this.models.map(adapterItem));
    if (this.models.length === models.length) this.choose([{ name: models[0].adapter }]);
  }

  /** `{ name, scale }` of each that is chosen, as the API takes them. */
  get chosen() {
    return [...byId('adapter-list').children].filter(isChosen).map((item) => ({
      name: item.dataset.route,
      scale: item.querySelector('[type=number]').valueAsNumber,
    }));
  }

  /** Choose these and no others; a scale that is not said is the adapter's own. */
  choose(adapters) {
    for (const item of byId('adapter-list').children) {
      const found = adapters.find(({ name }) => name === item.dataset.route);
      item.querySelector('[type=checkbox]').checked = Boolean(found);
      item.querySelector('[type=number]').value = found?.scale ?? this.scaleOf(item.dataset.route);
      fit(item);
    }
  }

  /** An adapter's own scale. */
  scaleOf(route) {
    return this.models.find(({ adapter }) => adapter === route).scale.default;
  }
}

function adapterItem({ adapter, description, trigger_words: words, scale }) {
  const item = clone('adapter-template');
  item.dataset.route = adapter;
  item.title = [description, ...words.map((word) => `“${word}”`)].join(' ');
  item.querySelector('label span').textContent = adapter;
  const number = item.querySelector('[type=number]');
  Object.assign(number, { min: scale.min, max: scale.max, value: scale.default });
  number.setAttribute('aria-label', `Scale of ${adapter}`);
  item.querySelector('[type=checkbox]').addEventListener('change', () => fit(item));
  fit(item);
  return item;
}

/** Only what is chosen has a scale. */
function fit(item) {
  const number = item.querySelector('[type=number]');
  number.hidden = number.disabled = !isChosen(item);
}

function isChosen(item) {
  return item.querySelector('[type=checkbox]').checked;
}
