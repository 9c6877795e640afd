/** The PromQL in deploy/examples, as KEDA and Argo Rollouts ask it. */
import { join } from 'node:path';
import { projectRoot } from './go.js';
import { readManifests } from './kubernetes.js';

export interface ExampleQuery {
  file: string;
  /** Of the trigger or metric. */
  name: string;
  query: string;
}

interface ScaledObject {
  spec: { triggers: { name: string; metadata: { query: string } }[] };
}

interface AnalysisTemplate {
  spec: { metrics: { name: string; provider: { prometheus: { query: string } } }[] };
}

export async function exampleQueries(): Promise<ExampleQuery[]> {
  const read = async (file: string): Promise<unknown> =>
    (await readManifests(join(projectRoot, 'deploy/examples', file)))[0];
  const keda = 'keda-scaledobject.yaml';
  const argo = 'argo-analysistemplate.yaml';
  const { triggers } = ((await read(keda)) as ScaledObject).spec;
  const { metrics } = ((await read(argo)) as AnalysisTemplate).spec;
  return [
    ...triggers.map(({ name, metadata }) => ({ file: keda, name, query: metadata.query.trim() })),
    ...metrics.map(({ name, provider }) => ({
      file: argo,
      name,
      query: provider.prometheus.query.trim(),
    })),
  ];
}
