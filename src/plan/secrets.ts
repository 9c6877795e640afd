/** Which values are not to be shown, by their names. */

/** Words of a name that say that its value is a secret, or personal. */
const SECRETS = [
  'password',
  'passwd',
  'pwd',
  'passphrase',
  'secret',
  'token',
  'apikey',
  'credential',
  'credentials',
  'authorization',
  'authorisation',
  'auth',
  'cookie',
  'cookies',
  'session',
  'private',
  'signature',
  'ssn',
  'iban',
  'card',
  'cvv',
  'cvc',
  'pin',
  'otp',
];

/** "userPassword", "API_key" → ["user", "password"], ["api", "key", "apikey"] */
function wordsOf(name: string): string[] {
  const words = name
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .replace(/([A-Z]+)([A-Z][a-z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^a-z0-9]+/);
  const pairs = words.slice(1).map((word, index) => `${words[index] ?? ''}${word}`);
  return [...words, ...pairs];
}

/** `more`: further words or names; null: nothing is a secret. */
export function isSecret(path: readonly string[], more: readonly string[] | null): boolean {
  if (more === null) return false;
  const secrets = new Set([...SECRETS, ...more.map((word) => word.toLowerCase())]);
  return path.some(
    (name) =>
      secrets.has(name.toLowerCase()) ||
      wordsOf(name).some((word) => secrets.has(word) || secrets.has(word.replace(/s$/, ''))),
  );
}
