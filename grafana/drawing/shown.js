// node shown.cjs IN OUT: reads panels with their queries' results as JSON, and writes as JSON what
// Grafana would show of each. The libraries write their advertisement to the standard output.
import { formattedValueToString, getFieldDisplayName } from '@grafana/data';
import { readFileSync, writeFileSync } from 'node:fs';
import { framesOf, numbersOf } from './frames.js';

// What a browser has, and older releases of Node have not.
globalThis.window ??= {};
globalThis.navigator ??= { language: 'en-US', languages: ['en-US'] };

const texts = (field) => Array.from(field.values, (value) => formattedValueToString(field.display(value)));

function columns(frames) {
  return frames.flatMap((frame) =>
    frame.fields.map((field) => ({
      name: getFieldDisplayName(field, frame, frames),
      texts: texts(field),
      colours: Array.from(field.values, (value) => field.display(value).color ?? ''),
      links: (field.config.links ?? []).map(({ url }) => url),
      fixed: field.config.color?.fixedColor ?? '',
      custom: field.config.custom ?? {},
    }))
  );
}

function numbers(panel, frames) {
  return numbersOf(panel, frames).map(({ display }) => ({
    name: display.title ?? '',
    texts: [formattedValueToString(display)],
    colours: [display.color ?? ''],
  }));
}

async function shown(panel) {
  const frames = await framesOf(panel);
  if (panel.type === 'stat' || panel.type === 'bargauge') {
    return numbers(panel, frames);
  }
  const kept = columns(frames);
  return panel.type === 'timeseries' ? kept.filter(({ name }) => name !== 'Time') : kept;
}

const [from, to] = process.argv.slice(2);
const panels = JSON.parse(readFileSync(from, 'utf8'));
Promise.all(panels.map(shown)).then((found) => writeFileSync(to, JSON.stringify(found)));
