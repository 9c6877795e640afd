/** `${env:NAME}` in values, as OpenTelemetry's configuration data model defines it. */

const VALID = /^(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s;

export class InvalidReference extends Error {}

/** `$$` is a dollar sign. What a variable holds is not looked at again. */
export function substitute(text: string, environment: NodeJS.ProcessEnv): string {
  return text
    .split('$$')
    .map((part) => replaced(part, environment))
    .join('$');
}

function replaced(text: string, environment: NodeJS.ProcessEnv): string {
  let result = '';
  let done = 0;
  for (;;) {
    const start = text.indexOf('${', done);
    const end = start < 0 ? -1 : text.indexOf('}', start);
    if (end < 0) return result + text.slice(done);
    const reference = text.slice(start + 2, end);
    result += text.slice(done, start);
    result += reference === '' ? '${}' : valueOf(reference, environment);
    done = end + 1;
  }
}

function valueOf(reference: string, environment: NodeJS.ProcessEnv): string {
  const match = VALID.exec(reference);
  if (!match) {
    throw new InvalidReference(
      `'\${${reference}}' is no reference to the environment; write \${env:NAME} or ` +
        "${env:NAME:-default}, and '$$' for a dollar sign",
    );
  }
  const [, name = '', fallback = ''] = match;
  return (Object.hasOwn(environment, name) && environment[name]) || fallback;
}
