/** `${env:NAME}` in values, as OpenTelemetry's configuration data model defines it. */

const REFERENCE = /\$\{([^}]+)\}/g;
const VALID = /^(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s;

export class InvalidReference extends Error {}

/** `$$` is a dollar sign. What a variable holds is not looked at again. */
export function substitute(text: string, environment: NodeJS.ProcessEnv): string {
  return text
    .split('$$')
    .map((part) =>
      part.replace(REFERENCE, (whole, reference: string) => {
        const match = VALID.exec(reference);
        if (!match) {
          throw new InvalidReference(
            `'${whole}' is no reference to the environment; write \${env:NAME} or ` +
              "${env:NAME:-default}, and '$$' for a dollar sign",
          );
        }
        const [, name = '', fallback = ''] = match;
        return environment[name] || fallback;
      }),
    )
    .join('$');
}
