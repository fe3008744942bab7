// Draws a board in a browser, with Grafana's components for numbers, bars, tables and graphs. Those for
// heat maps and node graphs are not published: their places stay empty.
import {
  VizOrientation,
  cacheFieldDisplayNames,
  dateTime,
  getDisplayValueAlignmentFactors,
} from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { BarGauge, BigValue, GlobalStyles, ThemeContext, TimeSeries } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { createRoot } from 'react-dom/client';
import 'uplot/dist/uPlot.min.css';
import { framesOf, numbersOf, theme } from './frames.js';

const WIDTH = 1400;
const COLUMN = WIDTH / 24;
const LINE = 38;
const GAP = 8;
const TITLE = 32;

function Stat({ panel, frames, width, height }) {
  const found = numbersOf(panel, frames);
  return (
    <div style={{ display: 'flex' }}>
      {found.map(({ display }, index) => (
        <BigValue
          key={index}
          theme={theme}
          width={width / found.length}
          height={height}
          value={display}
          count={found.length}
          colorMode={panel.options.colorMode}
          graphMode={panel.options.graphMode}
          textMode={panel.options.textMode ?? 'auto'}
          justifyMode="auto"
        />
      ))}
    </div>
  );
}

function Bars({ panel, frames, width, height }) {
  const found = numbersOf(panel, frames);
  const alignmentFactors = getDisplayValueAlignmentFactors(found);
  return found.map(({ display, field, view, colIndex }, index) => (
    <BarGauge
      key={index}
      theme={theme}
      width={width}
      height={height / found.length - 4}
      value={display}
      field={field}
      display={view?.getFieldDisplayProcessor(colIndex)}
      alignmentFactors={alignmentFactors}
      orientation={VizOrientation.Horizontal}
      displayMode={panel.options.displayMode}
      valueDisplayMode={panel.options.valueMode}
      namePlacement={panel.options.namePlacement}
      showUnfilled={panel.options.showUnfilled}
      text={panel.options.text}
      itemSpacing={4}
    />
  ));
}

function Lines({ panel, frames, width, height, range }) {
  return (
    <TimeSeries
      frames={frames}
      width={width}
      height={height}
      timeRange={range}
      timeZone="utc"
      legend={panel.options.legend}
      options={panel.options}
    />
  );
}

function Rows({ panel, frames, width, height, range }) {
  return (
    <TableNG
      data={frames[0]}
      width={width}
      height={height}
      sortBy={panel.options.sortBy}
      fieldConfig={panel.fieldConfig}
      getActions={() => []}
      timeRange={range}
      structureRev={1}
      enableVirtualization={false}
    />
  );
}

const KINDS = { stat: Stat, bargauge: Bars, timeseries: Lines, table: Rows };

function Nothing({ text, height }) {
  return (
    <div style={{ height, display: 'grid', placeItems: 'center', textAlign: 'center', padding: 8 }}>{text}</div>
  );
}

function Inside(props) {
  const { panel, frames, height } = props;
  const Kind = KINDS[panel.type];
  if (!Kind) {
    return <Nothing text="not drawn here: Grafana's panel for this is not published" height={height} />;
  }
  const isEmpty = !frames.some(({ length }) => length);
  return isEmpty ? <Nothing text={panel.fieldConfig.defaults.noValue} height={height} /> : <Kind {...props} />;
}

function place({ x, y, w, h }) {
  return { position: 'absolute', left: x * COLUMN, top: y * LINE, width: w * COLUMN - GAP, height: h * LINE - GAP };
}

function Panel({ panel, frames, range }) {
  const found = place(panel.gridPos);
  const frame = {
    ...found,
    background: theme.colors.background.primary,
    border: `1px solid ${theme.colors.border.weak}`,
    boxSizing: 'border-box',
    borderRadius: 2,
    overflow: 'hidden',
  };
  return (
    <div style={frame}>
      <div style={{ height: TITLE, padding: '7px 8px', fontWeight: 500, whiteSpace: 'nowrap' }}>{panel.title}</div>
      <div style={{ padding: '0 8px' }}>
        <Inside
          panel={panel}
          frames={frames}
          range={range}
          width={found.width - 2 * GAP - 2}
          height={found.height - TITLE - GAP}
        />
      </div>
    </div>
  );
}

const Row = ({ row }) => (
  <div style={{ ...place({ ...row.gridPos, w: 24 }), fontSize: 16, fontWeight: 500, padding: '4px 0' }}>
    ⌄ {row.title}
  </div>
);

function Board({ board, drawn, range }) {
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div style={{ position: 'relative', margin: GAP }}>
        <div style={{ height: 40, fontSize: 20, fontWeight: 500 }}>{board.title}</div>
        <div style={{ position: 'relative' }}>
          {board.rows.map((row) => (
            <Row key={row.id} row={row} />
          ))}
          {drawn.map(({ panel, frames }) => (
            <Panel key={panel.id} panel={panel} frames={frames} range={range} />
          ))}
        </div>
      </div>
    </ThemeContext.Provider>
  );
}

async function draw({ board, start, end }) {
  await initPluginTranslations('otel-cinder');
  const drawn = await Promise.all(board.panels.map(async (panel) => ({ panel, frames: await framesOf(panel) })));
  drawn.forEach(({ frames }) => cacheFieldDisplayNames(frames));
  const from = dateTime(start * 1000);
  const to = dateTime(end * 1000);
  const range = { from, to, raw: { from, to } };
  createRoot(document.getElementById('board')).render(<Board board={board} drawn={drawn} range={range} />);
}

draw(JSON.parse(document.getElementById('data').textContent));
