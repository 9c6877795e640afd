/** As much of Grafana's dashboard JSON as these dashboards use. */
export interface Dashboard {
  id: null;
  uid: string;
  title: string;
  description: string;
  tags: string[];
  schemaVersion: number;
  editable: boolean;
  graphTooltip: 0 | 1 | 2;
  timezone: string;
  refresh: string;
  time: { from: string; to: string };
  links: DashboardLink[];
  templating: { list: Variable[] };
  annotations: { list: never[] };
  panels: (Panel | RowPanel)[];
}

export interface DashboardLink {
  type: 'link';
  title: string;
  tooltip: string;
  icon: string;
  url: string;
  tags: string[];
  asDropdown: boolean;
  includeVars: boolean;
  keepTime: boolean;
  targetBlank: boolean;
}

export interface DataSourceRef {
  type: string;
  uid: string;
}

export type Variable = DataSourceVariable | QueryVariable | CustomVariable;

interface VariableBase {
  name: string;
  label: string;
  description: string;
  hide: 0 | 1 | 2;
  multi: boolean;
  includeAll: boolean;
}

export interface DataSourceVariable extends VariableBase {
  type: 'datasource';
  query: string;
  regex: string;
  refresh: 1;
}

export interface QueryVariable extends VariableBase {
  type: 'query';
  datasource: DataSourceRef;
  definition: string;
  query: { qryType: 1; query: string; refId: string };
  refresh: 2;
  sort: 1;
  regex: string;
  allValue?: string;
  current?: { text: string[]; value: string[] };
}

export interface CustomVariable extends VariableBase {
  type: 'custom';
  query: string;
  current: { text: string; value: string };
  options: { text: string; value: string; selected: boolean }[];
}

export interface GridPos {
  x: number;
  y: number;
  w: number;
  h: number;
}

export interface RowPanel {
  type: 'row';
  id: number;
  title: string;
  collapsed: boolean;
  gridPos: GridPos;
  panels: never[];
}

/** A panel before it has a place. */
export interface PanelBody {
  type: 'timeseries' | 'stat' | 'table' | 'heatmap' | 'bargauge' | 'state-timeline';
  title: string;
  description: string;
  datasource: DataSourceRef;
  targets: Target[];
  fieldConfig: { defaults: FieldConfig; overrides: FieldOverride[] };
  options: Record<string, unknown>;
  transformations?: { id: string; options: Record<string, unknown> }[];
}

export interface Panel extends PanelBody {
  id: number;
  gridPos: GridPos;
}

export interface Target {
  refId: string;
  datasource: DataSourceRef;
  editorMode: 'code';
  expr: string;
  legendFormat: string;
  format: 'time_series' | 'table' | 'heatmap';
  range: boolean;
  instant: boolean;
  exemplar: boolean;
}

export interface FieldConfig {
  unit: string;
  min?: number;
  max?: number;
  decimals?: number;
  noValue?: string;
  color: { mode: 'palette-classic' | 'thresholds' };
  thresholds: { mode: 'absolute'; steps: Threshold[] };
  mappings?: ValueMapping[];
  links?: DataLink[];
  custom?: Record<string, unknown>;
}

/** null: from the lowest value on. */
export interface Threshold {
  value: number | null;
  color: string;
}

export interface ValueMapping {
  type: 'value';
  options: Record<string, { text: string; color: string; index: number }>;
}

export interface FieldOverride {
  matcher: { id: 'byName' | 'byRegexp'; options: string };
  properties: { id: string; value: unknown }[];
}

export interface DataLink {
  title: string;
  url: string;
  targetBlank?: boolean;
}
