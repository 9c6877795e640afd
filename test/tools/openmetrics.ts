/** Reads OpenMetrics text as strictly as its specification is written; throws where it is broken. */

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
  exemplar: Exemplar | null;
}

export interface Exemplar {
  labels: Record<string, string>;
  value: number;
  timestamp: number | null;
}

export interface MetricFamily {
  name: string;
  type: string;
  help: string;
  samples: Sample[];
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*/;
const LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*/;
const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$|^[+-]?inf(inity)?$|^nan$/i;

const SUFFIXES: Record<string, string[]> = {
  counter: ['_total', '_created'],
  gauge: [''],
  histogram: ['_bucket', '_sum', '_count', '_created'],
  summary: ['', '_sum', '_count', '_created'],
  info: ['_info'],
  unknown: [''],
};

export class OpenMetricsText {
  readonly families = new Map<string, MetricFamily>();

  constructor(readonly text: string) {
    if (!text.endsWith('\n# EOF\n')) throw new Error('it does not end in # EOF');
    const lines = text.slice(0, -'# EOF\n'.length).split('\n').slice(0, -1);
    let family: MetricFamily | null = null;
    for (const line of lines) {
      const [, what, name = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
      if (what === undefined) {
        if (!family) throw new Error(`no family: ${line}`);
        family.samples.push(readSample(line, family));
        continue;
      }
      if (!family || family.name !== name) {
        if (this.families.has(name)) throw new Error(`family ${name} comes twice`);
        family = { name, type: '', help: '', samples: [] };
        this.families.set(name, family);
      }
      if (family.samples.length > 0) throw new Error(`after its samples: ${line}`);
      const key = what === 'HELP' ? 'help' : 'type';
      if (family[key] !== '') throw new Error(`comes twice: ${line}`);
      if (what === 'TYPE' && !(rest in SUFFIXES)) throw new Error(`no such type: ${line}`);
      family[key] = rest;
    }
    for (const read of this.families.values()) checkFamily(read);
  }

  /** Samples of this name whose labels hold all of these. */
  samples(name: string, labels: Record<string, string> = {}): Sample[] {
    return [...this.families.values()]
      .flatMap((family) => family.samples)
      .filter((sample) => sample.name === name)
      .filter((sample) => Object.entries(labels).every(([key, v]) => sample.labels[key] === v));
  }

  /** Of the only sample. */
  value(name: string, labels: Record<string, string> = {}): number {
    const found = this.samples(name, labels);
    const [sample] = found;
    if (!sample || found.length > 1) {
      throw new Error(`${found.length} samples of ${name} ${JSON.stringify(labels)}`);
    }
    return sample.value;
  }
}

function readSample(line: string, family: MetricFamily): Sample {
  const name = NAME.exec(line)?.[0];
  if (name === undefined) throw new Error(`no name: ${line}`);
  const suffixes = SUFFIXES[family.type] ?? [];
  if (!suffixes.some((suffix) => name === family.name + suffix)) {
    throw new Error(`not of the ${family.type} ${family.name}: ${line}`);
  }
  const { labels, rest } = readLabels(line.slice(name.length), line);
  const [values = '', exemplar, more] = rest.split(' # ');
  if (more !== undefined) throw new Error(`two exemplars: ${line}`);
  if (!values.startsWith(' ')) throw new Error(`no value: ${line}`);
  const [value = '', timestamp, third] = values.slice(1).split(' ');
  if (third !== undefined) throw new Error(`too many values: ${line}`);
  if (timestamp !== undefined) readNumber(timestamp, line);
  return {
    name,
    labels,
    value: readNumber(value, line),
    exemplar: exemplar === undefined ? null : readExemplar(exemplar, name, line),
  };
}

function readExemplar(text: string, name: string, line: string): Exemplar {
  if (!/_(bucket|total)$/.test(name)) throw new Error(`no place for an exemplar: ${line}`);
  if (!text.startsWith('{')) throw new Error(`exemplar without labels: ${line}`);
  const { labels, rest } = readLabels(text, line);
  const length = Object.entries(labels).reduce((sum, [key, v]) => sum + key.length + v.length, 0);
  if (length > 128) throw new Error(`exemplar of ${length} characters: ${line}`);
  const [before, value = '', timestamp, third] = rest.split(' ');
  if (before !== '' || third !== undefined) throw new Error(`exemplar: ${line}`);
  return {
    labels,
    value: readNumber(value, line),
    timestamp: timestamp === undefined ? null : readNumber(timestamp, line),
  };
}

function readLabels(text: string, line: string): { labels: Record<string, string>; rest: string } {
  const labels: Record<string, string> = {};
  if (!text.startsWith('{')) return { labels, rest: text };
  let rest = text.slice(1);
  while (!rest.startsWith('}')) {
    const name = LABEL.exec(rest)?.[0];
    if (name === undefined) throw new Error(`name of a label: ${line}`);
    const [quoted, escaped = ''] = /^="((?:[^"\\]|\\["\\n])*)"/.exec(rest.slice(name.length)) ?? [];
    if (quoted === undefined) throw new Error(`value of ${name}: ${line}`);
    if (name in labels) throw new Error(`${name} comes twice: ${line}`);
    labels[name] = escaped.replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c));
    rest = rest.slice(name.length + quoted.length);
    if (rest.startsWith(',')) rest = rest.slice(1);
    else if (!rest.startsWith('}')) throw new Error(`after ${name}: ${line}`);
  }
  return { labels, rest: rest.slice(1) };
}

function readNumber(text: string, line: string): number {
  if (!NUMBER.test(text)) throw new Error(`not a number, '${text}': ${line}`);
  const [, sign, special] = /^([+-]?)(inf|nan)/i.exec(text) ?? [];
  if (special === undefined) return Number(text);
  return /nan/i.test(special) ? NaN : sign === '-' ? -Infinity : Infinity;
}

function checkFamily({ name, type, samples }: MetricFamily): void {
  const seen = new Set<string>();
  for (const sample of samples) {
    const key = JSON.stringify([sample.name, Object.entries(sample.labels).sort()]);
    if (seen.has(key)) throw new Error(`comes twice: ${key}`);
    seen.add(key);
    if (type === 'counter' && !(sample.value >= 0)) throw new Error(`counter below 0: ${key}`);
  }
  if (type === 'histogram') checkHistograms(name, samples);
}

function checkHistograms(name: string, samples: Sample[]): void {
  const groups = new Map<string, Sample[]>();
  for (const sample of samples) {
    const labels = Object.entries(sample.labels).filter(([key]) => key !== 'le');
    const key = JSON.stringify(labels.sort());
    groups.set(key, [...(groups.get(key) ?? []), sample]);
  }
  for (const [key, group] of groups) {
    const fail = (why: string): never => {
      throw new Error(`${name} ${key}: ${why}`);
    };
    let bound = -Infinity;
    let count = 0;
    for (const { labels, value, exemplar } of group.filter((s) => s.name === `${name}_bucket`)) {
      const le = readNumber(labels['le'] ?? '', key);
      if (le <= bound) fail(`bound ${le} after ${bound}`);
      if (value < count) fail(`${value} at ${le} is less than ${count}`);
      if (exemplar && !(exemplar.value > bound && exemplar.value <= le)) {
        fail(`exemplar ${exemplar.value} is not in (${bound}, ${le}]`);
      }
      bound = le;
      count = value;
    }
    if (bound !== Infinity) fail('no bucket +Inf');
    if (group.find((s) => s.name === `${name}_count`)?.value !== count) fail('count differs');
    if (!group.some((s) => s.name === `${name}_sum`)) fail('no sum');
  }
}
