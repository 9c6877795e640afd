/** All dashboards, by the names of their files. */
import { costDashboard } from './cost.js';
import { fleetDashboard } from './fleet.js';
import { functionDashboard } from './function.js';
import { functionsDashboard } from './functions.js';
import type { Dashboard } from './model.js';

export const DASHBOARDS: Readonly<Record<string, Dashboard>> = {
  'functions.json': functionsDashboard,
  'function.json': functionDashboard,
  'cost.json': costDashboard,
  'fleet.json': fleetDashboard,
};

export function render(dashboard: Dashboard): string {
  return `${JSON.stringify(dashboard, null, 2)}\n`;
}
