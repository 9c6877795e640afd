/** Places panels on Grafana's grid of 24 columns. */
import { linksFrom, UIDS } from './links.js';
import type { Dashboard, Panel, RowPanel, Variable } from './model.js';
import type { SizedPanel } from './panels.js';

export const COLUMNS = 24;

export interface Section {
  title: string;
  /** From left to right; the next line begins where the next panel does not fit. */
  panels: SizedPanel[];
}

/**
 * The id of a panel, by its title: links to a panel name its id, which must not change when others
 * come and go. FNV-1a, cut to what Grafana's database takes.
 */
function panelId(title: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(title)) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 1) % 1_000_000_000;
}

export function place(sections: readonly Section[]): (Panel | RowPanel)[] {
  const placed: (Panel | RowPanel)[] = [];
  let y = 0;
  for (const section of sections) {
    placed.push({
      type: 'row',
      id: panelId(`row ${section.title}`),
      title: section.title,
      collapsed: false,
      gridPos: { x: 0, y, w: COLUMNS, h: 1 },
      panels: [],
    });
    y++;
    let x = 0;
    let height = 0;
    for (const { size, panel } of section.panels) {
      const [w, h] = size;
      if (x + w > COLUMNS) {
        y += height;
        x = 0;
        height = 0;
      }
      placed.push({ id: panelId(panel.title), gridPos: { x, y, w, h }, ...panel });
      x += w;
      height = Math.max(height, h);
    }
    y += height;
  }
  return placed;
}

export function dashboard(
  name: keyof typeof UIDS,
  title: string,
  description: string,
  variables: Variable[],
  sections: readonly Section[],
): Dashboard {
  return {
    id: null,
    uid: UIDS[name],
    title: `Underspan / ${title}`,
    description,
    tags: ['underspan'],
    // Grafana 11's; later ones bring it up to theirs as they load it.
    schemaVersion: 39,
    editable: true,
    graphTooltip: 1,
    timezone: '',
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    links: linksFrom(name),
    templating: { list: variables },
    annotations: { list: [] },
    panels: place(sections),
  };
}
