/** What a PromQL expression names. Understands tokens, not grammar: promtool checks that. */
export interface Names {
  metrics: Set<string>;
  /** In matchers, and where series are grouped or matched. */
  labels: Set<string>;
}

const TOKEN =
  /(?<space>\s+|#[^\n]*)|(?<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)|(?<number>0x[0-9a-f]+|(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?(?:ms|[smhdwy])?(?:\d+(?:ms|[smhdwy]))*)|(?<name>[a-z_:][\w:]*)|(?<operator>=~|!~|!=|==|>=|<=|[-+*/%^=<>(){}[\],:@])/giy;

const OPERATORS = new Set(['and', 'or', 'unless', 'atan2', 'bool', 'offset', 'inf', 'nan']);
/** What they are followed by in parentheses are labels. */
const GROUPING = new Set(['by', 'without', 'on', 'ignoring', 'group_left', 'group_right']);

interface Token {
  kind: 'string' | 'number' | 'name' | 'operator';
  text: string;
}

function tokens(expression: string): Token[] {
  const found: Token[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < expression.length) {
    const at = TOKEN.lastIndex;
    const groups = TOKEN.exec(expression)?.groups;
    if (!groups) throw new Error(`no PromQL at ${at}: ${expression.slice(at)}`);
    for (const kind of ['string', 'number', 'name', 'operator'] as const) {
      const text = groups[kind];
      if (text !== undefined) found.push({ kind, text });
    }
  }
  return found;
}

export function promqlNames(expression: string): Names {
  const names: Names = { metrics: new Set(), labels: new Set() };
  const all = tokens(expression);
  let inside: 'expression' | 'matchers' | 'labels' = 'expression';
  for (const [index, { kind, text }] of all.entries()) {
    const next = all[index + 1]?.text;
    if (inside === 'expression') {
      if (text === '{') inside = 'matchers';
      if (kind !== 'name' || OPERATORS.has(text.toLowerCase())) continue;
      if (GROUPING.has(text)) {
        if (next === '(') inside = 'labels';
      } else if (next !== '(' && next !== 'by' && next !== 'without') {
        names.metrics.add(text);
      }
    } else {
      if (kind === 'name') names.labels.add(text);
      if (text === (inside === 'matchers' ? '}' : ')')) inside = 'expression';
    }
  }
  return names;
}
