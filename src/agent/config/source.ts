/** A YAML file as plain values, with the place of each. */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type Scalar,
  visit,
  type YAMLMap,
} from 'yaml';
import { InvalidReference, substitute } from './environment.js';
import { tooDeepAt } from './nesting.js';
import type { Position, Problem } from './problem.js';

export type Path = readonly PropertyKey[];

export const MAX_BYTES = 1 << 20;
/** How often one anchor may be repeated, with what it repeats itself; see yaml's maxAliasCount. */
const MAX_REPEATS = 100;
/** Finding what an alias refers to takes time for every other one. */
const MAX_ALIASES = 1_000;

/** What yaml says of some mistakes is meant for programmers. */
const WORDS: Record<string, string> = {
  MULTIPLE_DOCS: "the file holds more than one document; leave out what begins at this '---'",
  TAB_AS_INDENT: 'tabs cannot indent YAML; use spaces',
  BAD_ALIAS: 'put a value that begins with * in quotes',
  NON_STRING_KEY: 'keys must be text; put this one in quotes',
};

/** A file that was read, or why it could not be. */
export class Source {
  readonly problems: Problem[] = [];
  /** Without what has no value; null if there are problems. */
  readonly value: unknown = null;
  private readonly lines = new LineCounter();
  private readonly pairs = new Map<YAMLMap, Map<unknown, Pair>>();
  private readonly document: Document.Parsed | null = null;

  constructor(written: string, environment: NodeJS.ProcessEnv) {
    const text = written.replace(/^\ufeff/, '');
    this.lines.addNewLine(0);
    for (const { index } of text.matchAll(/\n/g)) this.lines.addNewLine(index + 1);
    if (Buffer.byteLength(text) > MAX_BYTES) {
      this.report(0, `the file is larger than ${MAX_BYTES >> 20} MiB`);
      return;
    }
    const deep = tooDeepAt(text);
    if (deep !== null) {
      this.report(deep, 'this is nested too deeply');
      return;
    }
    this.document = this.parse(text);
    this.refuseRepeatedKeys(this.document);
    this.refuseBadAliases(this.document);
    if (this.problems.length === 0) this.substitute(this.document, environment);
    if (this.problems.length === 0) this.value = this.plain(this.document);
    if (this.value === null && this.problems.length === 0) this.report(0, 'the file is empty');
  }

  /** Of what is found at the path, or of the last thing on the way to it. */
  position(path: Path): Position {
    return this.at(this.offset(path, false));
  }

  /** Of the key itself. */
  keyPosition(path: Path): Position {
    return this.at(this.offset(path, true));
  }

  private report(offset: number, message: string): void {
    this.problems.push({ ...this.at(offset), message });
  }

  private at(offset: number): Position {
    const { line, col } = this.lines.linePos(offset);
    return { line, column: col };
  }

  private parse(text: string): Document.Parsed {
    const document = parseDocument(text, {
      prettyErrors: false,
      schema: 'core',
      merge: false,
      stringKeys: true,
      // It compares each key with each other one.
      uniqueKeys: false,
    });
    for (const { code, message, pos } of [...document.errors, ...document.warnings]) {
      this.report(pos[0], WORDS[code] ?? lowerFirst(message));
    }
    return document;
  }

  private refuseRepeatedKeys(document: Document.Parsed): void {
    visit(document, {
      Map: (_key, map) => {
        const pairs = new Map<unknown, Pair>();
        for (const pair of map.items) {
          if (!isScalar(pair.key)) continue;
          const { value, range } = pair.key;
          const offset = range?.[0] ?? 0;
          if (pairs.has(value)) this.report(offset, `the key '${String(value)}' is here twice`);
          // Objects cannot have it as a key like any other.
          if (value === '__proto__') this.report(offset, "'__proto__' cannot be a key");
          pairs.set(value, pair);
        }
        this.pairs.set(map, pairs);
      },
    });
  }

  private refuseBadAliases(document: Document.Parsed): void {
    const anchors = new Map<string, Node>();
    let count = 0;
    visit(document, {
      Node: (_key, node, ancestors) => {
        if (!isAlias(node)) {
          if (node.anchor) anchors.set(node.anchor, node);
          return undefined;
        }
        const target = anchors.get(node.source);
        const offset = node.range?.[0] ?? 0;
        if (++count > MAX_ALIASES) {
          this.report(offset, `the file has more than ${MAX_ALIASES} aliases`);
          return visit.BREAK;
        }
        if (!target && node.source !== '') {
          const quoted = `in quotes: '*${node.source}'`;
          this.report(
            offset,
            `'*${node.source}' refers to nothing; put a value that begins with * ${quoted}`,
          );
        } else if (target && ancestors.includes(target)) {
          this.report(offset, `'*${node.source}' refers to what holds it`);
        }
        return undefined;
      },
    });
  }

  private substitute(document: Document.Parsed, environment: NodeJS.ProcessEnv): void {
    visit(document, {
      Scalar: (key, node) => {
        if (key === 'key' || typeof node.value !== 'string' || !node.value.includes('$')) return;
        try {
          const text = substitute(node.value, environment);
          if (text !== node.value) node.value = interpreted(document, node, text);
        } catch (error) {
          if (!(error instanceof InvalidReference)) throw error;
          this.report(node.range?.[0] ?? 0, error.message);
        }
      },
    });
  }

  private plain(document: Document.Parsed): unknown {
    try {
      return withoutNulls(document.toJS({ maxAliasCount: MAX_REPEATS }), new Set());
    } catch (error) {
      if (!(error instanceof ReferenceError)) throw error;
      visit(document, {
        Alias: (_key, node) => {
          this.report(node.range?.[0] ?? 0, 'aliases would repeat too much');
          return visit.BREAK;
        },
      });
      return null;
    }
  }

  private offset(path: Path, ofKey: boolean): number {
    let node = this.document?.contents as Node | null | undefined;
    let offset = node?.range?.[0] ?? 0;
    for (const step of path) {
      if (isAlias(node)) node = node.resolve(this.document as Document.Parsed);
      if (isMap(node)) {
        const pair = this.pairs.get(node)?.get(step);
        if (!pair) break;
        const key = pair.key as Node;
        node = pair.value as Node | null;
        const ownLine = ofKey || !node || isNothing(node);
        offset = ((ownLine ? key : node) as Node).range?.[0] ?? offset;
      } else if (isSeq(node)) {
        node = node.items[Number(step)] as Node | undefined;
        offset = node?.range?.[0] ?? offset;
      } else {
        // A single text stands for the list of it.
        break;
      }
    }
    return offset;
  }
}

const isNothing = (node: Node): boolean => isScalar(node) && node.value === null;

/** A plain scalar is a number or a truth value if it looks like one; what is quoted is text. */
function interpreted(document: Document.Parsed, node: Scalar, text: string): unknown {
  if (node.type !== 'PLAIN' || node.tag) return text;
  for (const tag of document.schema.tags) {
    if ('test' in tag && tag.default && tag.test?.test(text)) {
      const refuse = (): void => undefined;
      const value = tag.resolve(text, refuse, document.options);
      return isScalar(value) ? value.value : value;
    }
  }
  return text;
}

/** A key without a value, and one whose variable is not set, are as though they were not there. */
function withoutNulls(value: unknown, seen: Set<unknown>): unknown {
  if (typeof value !== 'object' || value === null || seen.has(value)) return value;
  seen.add(value);
  for (const [key, inner] of Object.entries(value)) {
    if (inner === null && !Array.isArray(value)) delete (value as Record<string, unknown>)[key];
    else withoutNulls(inner, seen);
  }
  return value;
}

const lowerFirst = (text: string): string => text.charAt(0).toLowerCase() + text.slice(1);
