// What a board makes of its queries' results, by Grafana's own code: frames as its data sources return
// them, then the panel's transformations, then defaults and overrides of fields.
import {
  FieldConfigOptionsRegistry,
  FieldType,
  applyFieldOverrides,
  createTheme,
  dataLinksOverrideProcessor,
  getFieldDisplayValues,
  identityOverrideProcessor,
  numberOverrideProcessor,
  standardTransformers,
  standardTransformersRegistry,
  stringOverrideProcessor,
  thresholdsOverrideProcessor,
  toDataFrame,
  transformDataFrame,
  unitOverrideProcessor,
  valueMappingsOverrideProcessor,
} from '@grafana/data';
import { firstValueFrom } from 'rxjs';

export const theme = createTheme({ colors: { mode: 'light' } });
// Variables are replaced where the queries are asked.
const asWritten = (text) => text;

standardTransformersRegistry.setInit(() =>
  [...new Set(Object.values(standardTransformers))].map((transformer) => ({
    id: transformer.id,
    name: transformer.name,
    transformation: async () => transformer,
  }))
);

const STANDARD = {
  unit: unitOverrideProcessor,
  min: numberOverrideProcessor,
  max: numberOverrideProcessor,
  decimals: numberOverrideProcessor,
  noValue: stringOverrideProcessor,
  thresholds: thresholdsOverrideProcessor,
  mappings: valueMappingsOverrideProcessor,
  links: dataLinksOverrideProcessor,
  color: identityOverrideProcessor,
};

function property(id, process) {
  const isCustom = id.startsWith('custom.');
  const path = isCustom ? id.slice('custom.'.length) : id;
  return { id, path, name: id, isCustom, process, shouldApply: () => true };
}

// A panel's own options of fields are known to its kind alone: those that a board sets are taken as
// they are, and any other that is not of the standard is an error.
function registry({ defaults, overrides }) {
  const set = overrides.flatMap(({ properties }) => properties.map(({ id }) => id));
  const custom = new Set([
    ...Object.keys(defaults.custom ?? {}).map((key) => `custom.${key}`),
    ...set.filter((id) => id.startsWith('custom.')),
  ]);
  const unknown = set.filter((id) => !custom.has(id) && !(id in STANDARD));
  if (unknown.length) {
    throw new Error(`no such option of fields: ${unknown}`);
  }
  return new FieldConfigOptionsRegistry(() => [
    ...Object.entries(STANDARD).map(([id, process]) => property(id, process)),
    ...[...custom].map((id) => property(id, identityOverrideProcessor)),
  ]);
}

const time = (seconds) => seconds.map((second) => second * 1000);
const numbers = (texts) => texts.map((text) => (text === 'NaN' ? NaN : Number(text.replace('Inf', 'Infinity'))));

function named(legend, labels) {
  return legend?.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? '');
}

// A frame for each series, as its data source for Prometheus makes them.
function series({ target, result }) {
  return result.map(({ metric, values, value }) => {
    const points = values ?? [value];
    const displayNameFromDS = named(target.legendFormat, metric);
    return toDataFrame({
      refId: target.refId,
      fields: [
        { name: 'Time', type: FieldType.time, values: time(points.map(([at]) => at)) },
        {
          name: 'Value',
          type: FieldType.number,
          labels: metric,
          config: displayNameFromDS ? { displayNameFromDS } : {},
          values: numbers(points.map(([, text]) => text)),
        },
      ],
    });
  });
}

// One frame with a column for each label.
function table({ target, result }, several) {
  const labels = [...new Set(result.flatMap(({ metric }) => Object.keys(metric)))].sort();
  return toDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: time(result.map(({ value }) => value[0])) },
      ...labels.map((label) => ({
        name: label,
        type: FieldType.string,
        values: result.map(({ metric }) => metric[label] ?? ''),
      })),
      {
        name: several ? `Value #${target.refId}` : 'Value',
        type: FieldType.number,
        values: numbers(result.map(({ value }) => value[1])),
      },
    ],
  });
}

// As its data source for Jaeger has them.
function traces({ target, result }) {
  const column = (name, type, of) => ({ name, type, values: result.map(of) });
  return toDataFrame({
    refId: target.refId,
    fields: [
      column('Trace ID', FieldType.string, ({ id }) => id),
      column('Trace name', FieldType.string, ({ name }) => name),
      column('Start time', FieldType.time, ({ start }) => start),
      column('Duration', FieldType.number, ({ duration }) => duration),
    ],
  });
}

function received({ answers }) {
  const found = answers.filter(({ result }) => result.length);
  return found.flatMap((answer) => {
    if (answer.target.queryType === 'search') {
      return [traces(answer)];
    }
    return answer.target.format === 'table' ? [table(answer, answers.length > 1)] : series(answer);
  });
}

export async function framesOf(panel) {
  const fieldConfig = panel.fieldConfig;
  const transformed = await firstValueFrom(
    transformDataFrame(panel.transformations ?? [], received(panel), { interpolate: asWritten })
  );
  return applyFieldOverrides({
    data: transformed,
    fieldConfig,
    fieldConfigRegistry: registry(fieldConfig),
    replaceVariables: asWritten,
    theme,
    timeZone: 'utc',
  });
}

// What a panel of single numbers shows of its frames.
export function numbersOf(panel, frames) {
  return getFieldDisplayValues({
    fieldConfig: panel.fieldConfig,
    reduceOptions: panel.options.reduceOptions,
    data: frames,
    replaceVariables: asWritten,
    theme,
    timeZone: 'utc',
  });
}
