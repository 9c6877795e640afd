import tseslint from 'typescript-eslint';

/** Imports point one way: cli → src → native. */
function forbidden(...patterns) {
  return { 'no-restricted-imports': ['error', { patterns }] };
}

const notCli = { group: ['**/cli/**'], message: 'src/ never imports cli/.' };
const notTest = { regex: '/(test|bench)/', message: 'Only tests import tests.' };
const notSession = { group: ['**/session/**'], message: 'A sink never imports a session.' };
const notAddon = {
  group: ['**/*.node', 'node:module', 'module'],
  message: 'Only src/native/load.ts knows where the addon is.',
};

/** How a process ends is for the command line to say. */
const exits = [
  { object: 'process', property: 'exit' },
  { object: 'process', property: 'exitCode' },
];

export default tseslint.config(
  { ignores: ['dist/', 'build/', '.cache/', 'src/spans/records.generated.ts'] },
  ...tseslint.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.recommendedTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': [
        'error',
        // What node:test returns is awaited by its runner.
        {
          allowForKnownSafeCalls: [
            { from: 'package', name: ['describe', 'it', 'test', 'suite'], package: 'node:test' },
          ],
        },
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/prefer-readonly': 'error',
      // Promise.all over optional calls (x?.close()) is meant as it is written.
      '@typescript-eslint/await-thenable': 'off',
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-var': 'error',
      'prefer-const': 'error',
      'no-console': 'error',
    },
  },
  { files: ['src/**/*.ts'], rules: forbidden(notCli, notTest, notAddon) },
  { files: ['src/sinks/**/*.ts'], rules: forbidden(notCli, notTest, notAddon, notSession) },
  { files: ['src/native/load.ts'], rules: forbidden(notCli, notTest) },
  { files: ['cli/**/*.ts'], rules: forbidden(notTest, notAddon) },
  { files: ['src/**/*.ts'], rules: { 'no-restricted-properties': ['error', ...exits] } },
  // These are programs that talk to whoever runs them.
  { files: ['test/**/*.ts', 'bench/**/*.ts', 'scripts/**'], rules: { 'no-console': 'off' } },
  {
    files: ['test/**/*.ts'],
    rules: {
      'no-restricted-syntax': [
        'error',
        {
          selector: 'ExpressionStatement > CallExpression[callee.name=/^require(Bpf|Root)$/]',
          message: 'A test that cannot run must end here: if (!requireBpf(t)) return;',
        },
      ],
    },
  },
  {
    files: ['test/unit/**/*.ts'],
    rules: {
      // A fake satisfies an interface whose methods are asynchronous.
      '@typescript-eslint/require-await': 'off',
    },
  },
);
