// Short names for what every module does with the document.

/** The one element with an id. */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no element #${id}`);
  return element;
}

/** An element with text and attributes, such as `element('td', '4', { class: 'number' })`. */
export function element(name, text = '', attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** A fresh copy of the only child of a `<template>`. */
export function clone(id) {
  return byId(id).content.firstElementChild.cloneNode(true);
}

/** Tell people who listen rather than look. */
export function announce(text) {
  byId('live').textContent = text;
}
