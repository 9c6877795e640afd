/** Panels of each kind, with what all of a kind share. */
import type {
  DataLink,
  FieldConfig,
  FieldOverride,
  PanelBody,
  Target,
  Threshold,
  ValueMapping,
} from './model.js';
import { PROMETHEUS } from './variables.js';

export interface Query {
  expr: string;
  legend?: string;
  /** Also asks for the exemplars of the series that the expression reads. */
  exemplar?: boolean;
}

export interface SizedPanel {
  size: [width: number, height: number];
  panel: PanelBody;
}

export interface PanelOptions {
  /** Columns of 24, and lines. */
  size: [width: number, height: number];
  title: string;
  description: string;
  /** As Grafana names units. */
  unit: string;
  queries: Query[];
  min?: number;
  max?: number;
  decimals?: number;
  thresholds?: Threshold[];
  mappings?: ValueMapping[];
  links?: DataLink[];
}

/** Green until `warning`, red from `critical` on. */
export function ceiling(warning: number, critical: number): Threshold[] {
  return [
    { value: null, color: 'green' },
    { value: warning, color: 'orange' },
    { value: critical, color: 'red' },
  ];
}

/** Red as soon as there is any. */
export function none(): Threshold[] {
  return [
    { value: null, color: 'green' },
    { value: 1e-9, color: 'red' },
  ];
}

const PLAIN: Threshold[] = [{ value: null, color: 'green' }];

function targets(queries: Query[], how: Partial<Target>): Target[] {
  return queries.map((query, index) => ({
    refId: String.fromCharCode('A'.charCodeAt(0) + index),
    datasource: PROMETHEUS,
    editorMode: 'code',
    expr: query.expr,
    legendFormat: query.legend ?? '__auto',
    format: 'time_series',
    range: true,
    instant: false,
    exemplar: query.exemplar ?? false,
    ...how,
  }));
}

function body(
  type: PanelBody['type'],
  panel: PanelOptions,
  how: Partial<Target>,
  color: FieldConfig['color']['mode'],
  options: Record<string, unknown>,
  custom: Record<string, unknown> = {},
  overrides: FieldOverride[] = [],
): SizedPanel {
  const { size, title, description, unit, queries, thresholds, ...rest } = panel;
  const made: PanelBody = {
    type,
    title,
    description,
    datasource: PROMETHEUS,
    targets: targets(queries, how),
    fieldConfig: {
      defaults: {
        unit,
        color: { mode: color },
        thresholds: { mode: 'absolute', steps: thresholds ?? PLAIN },
        ...rest,
        custom,
      },
      overrides,
    },
    options,
  };
  return { size, panel: made };
}

const INSTANT: Partial<Target> = { range: false, instant: true };

export interface TimeSeriesOptions extends PanelOptions {
  /** Powers of ten, for durations that differ by more than that. */
  logarithmic?: boolean;
  stacked?: boolean;
}

export function timeSeries(panel: TimeSeriesOptions): SizedPanel {
  const { logarithmic = false, stacked = false, ...rest } = panel;
  const custom = {
    drawStyle: 'line',
    lineInterpolation: 'linear',
    lineWidth: 1,
    fillOpacity: stacked ? 25 : 8,
    showPoints: 'never',
    spanNulls: false,
    stacking: { mode: stacked ? 'normal' : 'none', group: 'A' },
    scaleDistribution: logarithmic ? { type: 'log', log: 10 } : { type: 'linear' },
    thresholdsStyle: { mode: panel.thresholds ? 'dashed' : 'off' },
  };
  const options = {
    legend: {
      displayMode: 'table',
      placement: 'bottom',
      showLegend: true,
      calcs: ['mean', 'max', 'lastNotNull'],
      sortBy: 'Mean',
      sortDesc: true,
    },
    tooltip: { mode: 'multi', sort: 'desc' },
  };
  return body('timeseries', rest, {}, 'palette-classic', options, custom);
}

/** One number; its course behind it. */
export function stat(panel: PanelOptions): SizedPanel {
  return body('stat', panel, {}, 'thresholds', {
    reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
    colorMode: panel.thresholds ? 'value' : 'none',
    graphMode: 'area',
    justifyMode: 'auto',
    orientation: 'auto',
    textMode: 'auto',
    wideLayout: true,
  });
}

/** One number over the time that is shown. */
export function instantStat(panel: PanelOptions): SizedPanel {
  const { size, panel: made } = stat(panel);
  const options = { ...made.options, graphMode: 'none' };
  return { size, panel: { ...made, targets: targets(panel.queries, INSTANT), options } };
}

/** Buckets of a classic histogram over time; the unit is that of what is measured. */
export function heatMap(panel: PanelOptions): SizedPanel {
  return body('heatmap', panel, { format: 'heatmap', legendFormat: '{{le}}' }, 'thresholds', {
    calculate: false,
    cellGap: 1,
    color: { mode: 'scheme', scheme: 'Oranges', steps: 64, exponent: 0.5, fill: 'dark-orange' },
    exemplars: { color: 'rgba(31, 120, 193, 0.9)' },
    // An empty cell stays empty instead of taking the palest colour.
    filterValues: { le: 1e-9 },
    legend: { show: true },
    rowsFrame: { layout: 'auto' },
    tooltip: { mode: 'single', yHistogram: true, showColorScale: true },
    yAxis: { axisPlacement: 'left', unit: panel.unit, reverse: false },
    cellValues: { unit: 'cps' },
  });
}

/** Buckets of a classic histogram over the time that is shown, or one bar a series. */
export function bars(panel: PanelOptions, histogram = false): SizedPanel {
  const how: Partial<Target> = histogram ? { ...INSTANT, format: 'heatmap' } : INSTANT;
  return body('bargauge', panel, how, 'thresholds', {
    reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
    displayMode: 'gradient',
    orientation: histogram ? 'vertical' : 'horizontal',
    valueMode: 'color',
    showUnfilled: true,
    minVizHeight: 10,
    minVizWidth: 8,
    sizing: 'auto',
  });
}

/** States over time, one line a series. */
export function states(panel: PanelOptions): SizedPanel {
  return body(
    'state-timeline',
    panel,
    {},
    'thresholds',
    {
      mergeValues: true,
      showValue: 'never',
      alignValue: 'left',
      rowHeight: 0.8,
      legend: { displayMode: 'list', placement: 'bottom', showLegend: true },
      tooltip: { mode: 'single', sort: 'none' },
    },
    { fillOpacity: 70, lineWidth: 0 },
  );
}

/** A column of a table: of one query, or of a label. */
export interface Column {
  name: string;
  unit: string;
  /** A bar behind the number shows its size among the others. */
  gauge?: boolean;
  thresholds?: Threshold[];
}

/**
 * One row for each set of labels, one column for each query, sorted by the first. `linked` is the
 * label whose column carries the panel's links.
 */
export function table(panel: PanelOptions, columns: Column[], linked?: string): SizedPanel {
  const { links, ...rest } = panel;
  const overrides: FieldOverride[] = columns.map((column) => ({
    matcher: { id: 'byName', options: column.name },
    properties: [
      { id: 'unit', value: column.unit },
      ...(column.gauge
        ? [{ id: 'custom.cellOptions', value: { type: 'gauge', mode: 'basic' } }]
        : []),
      ...(column.thresholds
        ? [
            { id: 'thresholds', value: { mode: 'absolute', steps: column.thresholds } },
            { id: 'custom.cellOptions', value: { type: 'color-text' } },
          ]
        : []),
    ],
  }));
  if (linked !== undefined && links !== undefined) {
    overrides.push({
      matcher: { id: 'byName', options: linked },
      properties: [{ id: 'links', value: links }],
    });
  }
  const { size, panel: made } = body(
    'table',
    rest,
    { ...INSTANT, format: 'table' },
    'thresholds',
    {
      showHeader: true,
      cellHeight: 'sm',
      sortBy: [{ displayName: columns[0]?.name ?? '', desc: true }],
    },
    { align: 'auto', filterable: true, inspect: false },
    overrides,
  );
  // A single query's values have no letter.
  const value = (index: number): string =>
    panel.queries.length === 1 ? 'Value' : `Value #${made.targets[index]?.refId ?? ''}`;
  const transformations = [
    { id: 'merge', options: {} },
    {
      id: 'organize',
      options: {
        excludeByName: { Time: true },
        indexByName: {},
        renameByName: Object.fromEntries(
          columns.map((column, index) => [value(index), column.name]),
        ),
      },
    },
  ];
  return { size, panel: { ...made, transformations } };
}
