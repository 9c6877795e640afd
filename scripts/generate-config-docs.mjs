#!/usr/bin/env node
// Writes docs/agent.schema.json and docs/agent-configuration.md from the schema of the agent's
// configuration, as it was built into dist/. --check fails if one is stale.
import { readFileSync, writeFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';

const root = new URL('..', import.meta.url).pathname;
const { agentJsonSchema } = await import(`${root}dist/src/agent/config/schema.js`);

const HEAD = `<!-- Generated from src/agent/config/schema.ts by scripts/generate-config-docs.mjs. Do not edit. -->
# The agent's configuration

\`trace agent --config FILE\` reads a YAML file. [examples/agent.yaml](examples/agent.yaml) is a whole one, and [agent.schema.json](agent.schema.json) is its JSON Schema, for editors:

\`\`\`yaml
# yaml-language-server: $schema=agent.schema.json
rules:
  - name: shop
    select:
      namespace: shop
    trace:
      symbols: 'main.*'
\`\`\`

A file with mistakes is refused as a whole. Each is named with its line and column, and with the word that was probably meant.

A key that is left out, or has no value, has its default.

| kind | how it is written |
|---|---|
| text, pattern, glob | in quotes where it begins with \`*\`, \`[\` or \`{\`, which mean something else in YAML |
| glob | \`*\` is any characters, also slashes, \`?\` is one, \`[abc]\`, \`[a-z]\` and \`[!a]\` are one of these, or none of these |
| pattern | a function, as [\`trace attach\`](attach.md#which-functions) takes it |
| duration | \`500us\`, \`1ms\`, \`30s\`, \`1m30s\`, \`2h\` |
| share | \`10%\` or \`0.1\` |
| size | \`64KiB\`, \`8MiB\`, \`1GiB\`; \`8M\` is the same as \`8MiB\` |
| address | \`:9464\` is all interfaces, \`127.0.0.1:9464\` is one |
| list of | one alone may be written without the list |

\`\${env:NAME}\` in a value is what that variable of the agent's environment holds, and \`\${env:NAME:-default}\` the default where it is not set or empty, as [OpenTelemetry's configuration data model](https://opentelemetry.io/docs/specs/otel/configuration/data-model/#environment-variable-substitution) has it. \`$$\` is a dollar sign. In quotes the result is text, otherwise it may be a number or a truth value.
`;

/** What is written, of a value that is no section. */
function kindOf(schema) {
  if (schema.anyOf) {
    const kinds = schema.anyOf.map(kindOf);
    // An item, or a list of them.
    if (kinds[1] === `list of ${kinds[0]}`) return kinds[1];
    return [...kinds.slice(1), kinds[0]].join(' or ');
  }
  if ('const' in schema) return `\`${schema.const}\``;
  if (schema.title) return schema.title;
  if (schema.enum) return schema.enum.map((word) => `\`${word}\``).join(', ');
  if (schema.type === 'array') return `list of ${kindOf(schema.items)}`;
  if (schema.type === 'boolean') return '`true` or `false`';
  return schema.type === 'string' ? 'text' : 'keys';
}

/** The object in it that has keys of its own: itself, its elements, or what may stand for `false`. */
function keysOf(schema) {
  if (schema.properties) return schema;
  if (schema.type === 'array') return keysOf(schema.items);
  return schema.anyOf?.map(keysOf).find(Boolean);
}

function defaultOf(schema, required) {
  if (required) return 'required';
  const value = schema.default;
  const isEmpty = value === undefined || (typeof value === 'object' && !Object.keys(value).length);
  return isEmpty ? '' : `\`${value}\``;
}

const cell = (text) => text.replaceAll('|', '\\|');

/** The rows of a section, and those of what lies in it below them. */
function rows(section, prefix) {
  return Object.entries(section.properties).flatMap(([key, schema]) => {
    const inner = keysOf(schema);
    const name = `\`${prefix}${key}\``;
    const own = [
      name,
      inner && !schema.anyOf ? (schema.type === 'array' ? 'list of keys' : 'keys') : kindOf(schema),
      defaultOf(schema, section.required?.includes(key)),
      schema.description ?? '',
    ];
    const below = inner
      ? rows(inner, `${prefix}${key}${schema.type === 'array' ? '[].' : '.'}`)
      : [];
    return [`| ${own.map(cell).join(' | ')} |`, ...below];
  });
}

function reference(schema) {
  const lines = [HEAD];
  for (const [key, section] of Object.entries(schema.properties)) {
    lines.push(
      `## \`${key}\``,
      '',
      `${section.description}${schema.required.includes(key) ? ' Required.' : ''}`,
      '',
      '| key | kind | default | meaning |',
      '|---|---|---|---|',
      ...rows(keysOf(section), ''),
      '',
    );
  }
  return lines.join('\n');
}

const schema = { title: "Configuration of Underspan's agent", ...agentJsonSchema() };
const jsonPath = `${root}docs/agent.schema.json`;
const json = await format(JSON.stringify(schema), {
  ...(await resolveConfig(jsonPath)),
  filepath: jsonPath,
});
const outputs = {
  'docs/agent.schema.json': json,
  'docs/agent-configuration.md': reference(schema),
};

for (const [file, text] of Object.entries(outputs)) {
  let old = '';
  try {
    old = readFileSync(root + file, 'utf8');
  } catch {
    // First run.
  }
  if (old === text) continue;
  if (process.argv.includes('--check')) {
    console.error(
      `${file} is stale: run npm run build, then node scripts/generate-config-docs.mjs`,
    );
    process.exitCode = 1;
  } else {
    writeFileSync(root + file, text);
  }
}
