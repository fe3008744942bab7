// What a board may be, by Grafana's schema. Panels have the options of their kind in full, which the
// schema keeps apart; `@grafana/schema` is the release that is checked against.
import type { Dashboard, DataSourceRef, FieldConfig, FieldConfigSource, Panel, RowPanel } from '@grafana/schema';
import type * as bargauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as heatmap from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type * as nodeGraph from '@grafana/schema/dist/esm/raw/composable/nodegraph/panelcfg/x/NodeGraphPanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// As JSON has it: the values of enumerations, which are types of their own in the schema.
type Plain<T> = unknown extends T
  ? T
  : T extends string
    ? `${T}`
    : T extends Array<infer Element>
      ? Array<Plain<Element>>
      : T extends object
        ? { [Key in keyof T]: Plain<T[Key]> }
        : T;

// What Grafana has defaults for may be left out.
type Of<Type extends string, Options, Custom> = Plain<
  Omit<Panel, 'type' | 'options' | 'fieldConfig'> & {
    type: Type;
    options: Partial<Options>;
    fieldConfig: Omit<FieldConfigSource, 'defaults'> & {
      defaults: Omit<FieldConfig, 'custom'> & { custom?: Partial<Custom> };
    };
  }
>;
type Nothing = Record<string, never>;

// The schema has annotations of Grafana's own database alone; these are what its data source for
// Prometheus makes of a query.
type Marks = Array<
  Omit<NonNullable<NonNullable<Dashboard['annotations']>['list']>[number], 'target'> & {
    target: {
      datasource: DataSourceRef;
      refId: string;
      expr: string;
      interval: string;
      range: boolean;
      instant: boolean;
    };
    titleFormat: string;
  }
>;

export type Board = Plain<Omit<Dashboard, 'panels' | 'annotations'> & { annotations: { list: Marks } }>;
export interface Panels {
  bargauge: Of<'bargauge', bargauge.Options, Nothing>;
  heatmap: Of<'heatmap', heatmap.Options, heatmap.FieldConfig>;
  nodeGraph: Of<'nodeGraph', nodeGraph.Options, Nothing>;
  row: Plain<RowPanel>;
  stat: Of<'stat', stat.Options, Nothing>;
  table: Of<'table', table.Options, table.FieldConfig>;
  timeseries: Of<'timeseries', timeseries.Options, timeseries.FieldConfig>;
}
